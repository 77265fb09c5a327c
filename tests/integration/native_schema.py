"""The fields of the OCI configuration: what the specification's schema lists, kept here as a flat file.

A path is written `linux.devices[].path`; `[]` stands for any member of a list and `*` for any key of a map. The flat file
is what tests read: they need no copy of the specification. `python native_schema.py DIRECTORY` writes it anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAT = Path(__file__).with_name("native_schema.json")
# Platforms other than Linux: one field each, whatever is below it.
OTHER_PLATFORMS = ("freebsd", "solaris", "vm", "windows", "zos")


def load() -> dict[str, Any]:
    """`fields`: path -> JSON type; `values`: path -> the words that the schema allows there."""
    found: dict[str, Any] = json.loads(FLAT.read_text())
    return found


class Schema:
    """The schema files of the specification's repository."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: dict[str, Any] = {}

    def read(self, name: str) -> Any:
        """One file, parsed."""
        if name not in self.files:
            self.files[name] = json.loads((self.directory / name).read_text())
        return self.files[name]

    def resolve(self, node: dict[str, Any], file: str) -> tuple[dict[str, Any], str]:
        """Follow `$ref` and merge `allOf` and `anyOf`."""
        while "$ref" in node:
            target, _, pointer = node["$ref"].partition("#/")
            file = target or file
            node = self.read(file)
            for key in pointer.split("/"):
                node = node[key]
        merged = dict(node)
        for part in [*node.get("allOf", ()), *node.get("anyOf", ())]:
            other, file = self.resolve(part, file)
            properties = {**merged.get("properties", {}), **other.get("properties", {})}
            merged = {**other, **merged, "properties": properties}
        return merged, file

    def walk(self, node: dict[str, Any], file: str, path: str) -> Iterator[tuple[str, str, list[str]]]:
        """(path, type, words) of a node and all below it."""
        node, file = self.resolve(node, file)
        kind = node.get("type", "object")
        if path:
            yield path, kind, node.get("enum", [])
        if path in OTHER_PLATFORMS:
            return
        for name, member in node.get("properties", {}).items():
            yield from self.walk(member, file, f"{path}.{name}" if path else name)
        if "items" in node:
            yield from self.walk(node["items"], file, f"{path}[]")
        for member in (node.get("additionalProperties"), *node.get("patternProperties", {}).values()):
            if isinstance(member, dict):
                yield from self.walk(member, file, f"{path}.*")


def flatten(directory: Path) -> dict[str, Any]:
    """What `load` returns, from the schema files."""
    schema = Schema(directory)
    top = schema.read("config-schema.json")
    # files of platforms that are not here to be read need not be: the field alone counts
    for name in OTHER_PLATFORMS:
        top["properties"][name] = {"type": "object"}
    found = list(schema.walk(top, "config-schema.json", ""))
    return {
        "fields": {path: kind for path, kind, _ in found},
        "values": {path: words for path, _, words in found if words},
    }


if __name__ == "__main__":
    FLAT.write_text(json.dumps(flatten(Path(sys.argv[1])), indent=1) + "\n")
