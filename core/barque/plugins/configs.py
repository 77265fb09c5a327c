"""Drivers' options: a profile's table -> the driver's frozen `Config` dataclass, validated by pydantic."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from barque.spi.errors import Internal, InvalidArgument

__all__ = ["build_config", "describe_config"]


def build_config(cls: type, options: Mapping[str, Any], where: str) -> Any:
    """`options` as an instance of `cls.Config`. `where` is the profile's path of the table (`runtime.native`).

    Errors: InvalidArgument that names the field; Internal when the driver has no proper `Config`.
    """
    config = config_class(cls)
    fields = {f.name for f in dataclasses.fields(config)}
    unknown = sorted(set(options) - fields)
    if unknown:
        known = ", ".join(sorted(fields)) or "none"
        raise InvalidArgument(
            f"{where}.{unknown[0]}: no such option", hint=f"options of this driver: {known}"
        )
    try:
        return TypeAdapter(config).validate_python(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join([where, *(str(part) for part in first["loc"])])
        raise InvalidArgument(
            f"{path}: {first['msg']}", hint=f"the value given is {first['input']!r}"
        ) from error


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
        hint = hints[field.name]
        rows.append({
            "field": field.name,
            "type": hint.__name__ if isinstance(hint, type) else str(hint),
            "default": default,
            "doc": _field_doc(text, field.name),
        })  # fmt: skip
    return rows


def _field_doc(text: str, field: str) -> str:
    match = re.search(
        rf"^\s*[`*-]*\s*`?{re.escape(field)}`?\s*(?:\([^)]*\))?:\s+(.+(?:\n[ \t]+.+)*)", text, re.MULTILINE
    )
    return " ".join(match.group(1).split()) if match else ""
