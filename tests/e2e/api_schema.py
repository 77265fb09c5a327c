"""Docker's own description of its API (docker-engine-api.yaml, Swagger 2.0), to validate answers with.

Stricter than the file in one way: a member that it does not name is an error. More lenient in another: a list or an object
may be null, as Go writes one that was never made and dockerd sends it.
"""

import re
from pathlib import Path

import jsonschema
import yaml

SPECIFICATION = Path(__file__).with_name("docker-engine-api.yaml")
_KEPT = ("enum", "items", "pattern", "minimum", "maximum")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_formats = jsonschema.FormatChecker(formats=())


@_formats.checks("dateTime")
def _is_moment(value):
    return not isinstance(value, str) or value == "" or _RFC3339.fullmatch(value) is not None


class Specification:
    """The operations, and a validator for each answer. `corrections`: definitions or members that are not as dockerd answers."""

    def __init__(self, corrections):
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.document = yaml.load(SPECIFICATION.read_bytes(), loader)
        self._definitions = self.document["definitions"]
        self._converted = {name: self._convert(one) for name, one in self._definitions.items()}
        for place, schema in corrections.items():
            name, *members = place.split(".")
            target = self._converted[name]
            for member in members[:-1]:
                target = target["properties"][member]
            if members:
                target["properties"][members[-1]] = schema
            else:
                self._converted[name] = schema
        self.operations = {
            operation["operationId"]: (method.upper(), path, operation)
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
            if method != "parameters"
        }
        self._patterns = [
            (method, re.compile(re.sub(r"\\\{(\w+)\\\}", _segment(path), re.escape(path))), name)
            for name, (method, path, _) in self.operations.items()
        ]

    def operation(self, method, path):
        """The id of the operation that a request means, or None."""
        path = path.partition("?")[0]
        found = [
            (len(pattern.pattern), name)
            for wanted, pattern, name in self._patterns
            if wanted == method and pattern.fullmatch(path)
        ]
        exact = [name for name in (one for _, one in found) if "{" not in self.operations[name][1]]
        return exact[0] if exact else max(found)[1] if found else None

    def statuses(self, operation):
        """The documented ones."""
        return {int(status) for status in self.operations[operation][2]["responses"]}

    def problems(self, operation, status, document, definition=""):
        """What is wrong with a JSON answer: places and messages. `definition`: what its lines are, where the operation does not say."""
        responses = {int(code): one for code, one in self.operations[operation][2]["responses"].items()}
        if status >= 400:
            definition = "ErrorResponse"
        schema = (
            {"$ref": f"#/definitions/{definition}"} if definition else responses.get(status, {}).get("schema")
        )
        if schema is None:
            return []
        root = {**self._convert(schema), "$defs": self._converted}
        validator = jsonschema.Draft202012Validator(root, format_checker=_formats)
        return [
            f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
            for error in _leaves(validator.iter_errors(document))
        ]

    def _convert(self, schema):
        """Swagger's schema object as JSON Schema 2020-12."""
        if "$ref" in schema:
            return {"$ref": schema["$ref"].replace("#/definitions/", "#/$defs/")}
        schema = self._flat(schema)
        kind = schema.get("type")
        made = {name: schema[name] for name in _KEPT if name in schema and name != "items"}
        if "format" in schema:
            made["format"] = schema["format"]
        if "items" in schema:
            made["items"] = self._convert(schema["items"])
        if kind == "object" or "properties" in schema:
            kind = kind or "object"
            made |= self._members(schema)
        if kind is not None:
            nullable = schema.get("x-nullable") or kind in ("array", "object")
            made["type"] = [kind, "null"] if nullable else kind
            if nullable and "enum" in made:
                made["enum"] = [*made["enum"], None]
        return made

    def _members(self, schema):
        properties = {name: self._member(one) for name, one in (schema.get("properties") or {}).items()}
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            more = self._convert(more)
        made = {"properties": properties, "additionalProperties": not properties if more is None else more}
        return made | ({"required": schema["required"]} if schema.get("required") else {})

    def _member(self, schema):
        """A member may also be null where its definition is a list or an object."""
        made = self._convert(schema)
        return {"anyOf": [made, {"type": "null"}]} if "$ref" in made else made

    def _flat(self, schema):
        """`allOf` merged: otherwise each part would refuse the members of the others."""
        if "allOf" not in schema:
            return schema
        merged = {name: value for name, value in schema.items() if name != "allOf"}
        for part in schema["allOf"]:
            while "$ref" in part:
                part = self._definitions[part["$ref"].rpartition("/")[2]]
            part = self._flat(part)
            merged["properties"] = {**merged.get("properties", {}), **(part.get("properties") or {})}
            merged["required"] = [*merged.get("required", ()), *part.get("required", ())]
            merged = {**part, **merged}
        return merged


def _segment(path):
    """Names of images and plugins have slashes."""
    return ".+" if path.startswith(("/images/", "/plugins/", "/distribution/")) else "[^/]+"


def _leaves(errors):
    """Of a choice that nothing fits, what its first alternative says."""
    for error in errors:
        if error.context:
            first = [inner for inner in error.context if inner.schema_path[0] == 0]
            yield from _leaves(first)
        else:
            yield error
