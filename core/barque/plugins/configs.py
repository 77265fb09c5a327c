"""Drivers' options: a profile's table -> the driver's frozen `Config` dataclass, validated by pydantic.

A field may be a dataclass of its own, or a mapping of names to dataclasses: a table, or a table of tables, in the profile.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from barque.spi.errors import Internal, InvalidArgument

__all__ = ["build_config", "describe_config"]


def build_config(cls: type, options: Mapping[str, Any], where: str) -> Any:
    """`options` as an instance of `cls.Config`. `where` is the profile's path of the table (`runtime.native`).

    Errors: InvalidArgument that names the field; Internal when the driver has no proper `Config`.
    """
    config = config_class(cls)
    _check_names(config, options, where, "of this driver")
    try:
        return TypeAdapter(config).validate_python(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join([where, *map(_key, first["loc"])])
        raise InvalidArgument(
            f"{path}: {first['msg']}", hint=f"the value given is {first['input']!r}"
        ) from error


def _check_names(config: type[Any], options: Mapping[str, Any], where: str, whose: str) -> None:
    """Refuse options that `config`, or a dataclass within it, does not have. pydantic would take them silently."""
    hints = get_type_hints(config)
    fields = {field.name for field in dataclasses.fields(config)}
    unknown = sorted(set(options) - fields)
    if unknown:
        known = ", ".join(sorted(fields)) or "none"
        raise InvalidArgument(f"{where}.{_key(unknown[0])}: no such option", hint=f"options {whose}: {known}")
    for name, value in options.items():
        inner, path = _inner(hints[name]), f"{where}.{name}"
        if inner is None or not isinstance(value, Mapping):
            continue
        tables = (
            [(path, value)] if inner is hints[name] else [(f"{path}.{_key(k)}", v) for k, v in value.items()]
        )
        for table, given in tables:
            if isinstance(given, Mapping):
                _check_names(inner, given, table, f"of a table {path}")


def _inner(hint: Any) -> type[Any] | None:
    """The dataclass that a field is, or maps names to."""
    values = get_args(hint)[1:] if get_origin(hint) in (dict, Mapping) else (hint,)
    return next((v for v in values if isinstance(v, type) and dataclasses.is_dataclass(v)), None)


def _key(part: object) -> str:
    """A key as TOML writes it."""
    text = str(part)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else f'"{text}"'


def config_class(cls: type) -> type[Any]:
    """The driver's `Config`. Errors: Internal."""
    config = getattr(cls, "Config", None)
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise Internal(
            f"{cls.__module__}.{cls.__qualname__} has no dataclass `Config`", hint="tell the plugin's author"
        )
    return config


def describe_config(cls: type) -> list[dict[str, Any]]:
    """Each option: field, type, default and what the docstring of `Config` says of it (`name: text`)."""
    config = config_class(cls)
    hints = get_type_hints(config)
    text = inspect.getdoc(config) or ""
    rows = []
    for field in dataclasses.fields(config):
        default = field.default if field.default is not dataclasses.MISSING else None
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        rows.append({
            "field": field.name,
            "type": _type_name(hints[field.name]),
            "default": default,
            "doc": _field_doc(text, field.name),
        })  # fmt: skip
    return rows


def _type_name(hint: Any) -> str:
    """As a profile's author thinks of it: a dataclass is a table."""
    inner = _inner(hint)
    if inner is not None:
        return "table" if inner is hint else "table of tables"
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _field_doc(text: str, field: str) -> str:
    match = re.search(
        rf"^\s*[`*-]*\s*`?{re.escape(field)}`?\s*(?:\([^)]*\))?:\s+(.+(?:\n[ \t]+.+)*)", text, re.MULTILINE
    )
    return " ".join(match.group(1).split()) if match else ""
