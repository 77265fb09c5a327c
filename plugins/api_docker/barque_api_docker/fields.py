"""Typed access to the members of a JSON object from a client.

As in Docker, null is the same as absent, unknown members are ignored, and a value of the wrong type is an error that names the field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from barque.spi.errors import InvalidArgument

__all__ = ["Fields", "parse_json"]

_INT64 = 1 << 63


def parse_json(data: bytes) -> Any:
    """`data` as JSON. Errors: InvalidArgument."""
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"invalid JSON: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _type_name(value: object) -> str:
    names: dict[type, str] = {
        str: "string",
        bool: "bool",
        int: "number",
        float: "number",
        list: "array",
        dict: "object",
    }
    return names.get(type(value), "null")


class Fields:
    """One JSON object. `path` is its place in the document (`HostConfig`), for messages."""

    __slots__ = ("_path", "raw")

    def __init__(self, raw: Mapping[str, Any], path: str = "") -> None:
        self.raw = raw
        self._path = path

    def name_of(self, name: str) -> str:
        """Member `name`'s full name."""
        return f"{self._path}.{name}" if self._path else name

    def text(self, name: str) -> str:
        """A string; "" when absent."""
        value = self.raw.get(name)
        return "" if value is None else self._text(value, name)

    def flag(self, name: str) -> bool:
        """A boolean; False when absent."""
        value = self.raw.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            self._wrong(value, name, "bool")
        return value

    def number(self, name: str) -> int:
        """A 64-bit integer; 0 when absent."""
        return self.optional_number(name) or 0

    def optional_number(self, name: str) -> int | None:
        """A 64-bit integer, or None."""
        value = self.raw.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not -_INT64 <= value < _INT64:
            self._wrong(value, name, "int64")
        return value

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of strings, or None."""
        value = self.raw.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            self._wrong(value, name, "[]string")
        return tuple(self._text(item, name) for item in value)

    def command(self, name: str) -> tuple[str, ...] | None:
        """A command: a list of strings, or a single string for a list of one."""
        value = self.raw.get(name)
        return (self._text(value, name),) if isinstance(value, str) else self.texts(name)

    def table(self, name: str) -> dict[str, str]:
        """An object of strings; empty when absent."""
        return {self._text(key, name): self._text(value, name) for key, value in self.mapping(name).items()}

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object; empty when absent."""
        value = self.raw.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._wrong(value, name, "object")
        return value

    def part(self, name: str) -> Fields:
        """A nested object; an empty one when absent."""
        return Fields(self.mapping(name), self.name_of(name))

    def parts(self, name: str) -> list[Fields]:
        """A list of objects; empty when absent."""
        value = self.raw.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self._wrong(value, name, "[]object")
        for item in value:
            if not isinstance(item, dict):
                self._wrong(item, name, "object")
        return [Fields(item, f"{self.name_of(name)}[{index}]") for index, item in enumerate(value)]

    def _text(self, value: object, name: str) -> str:
        if not isinstance(value, str):
            self._wrong(value, name, "string")
        # Neither a NUL nor a lone surrogate can go through execve or a path.
        if "\0" in value or not (value.isascii() or _encodable(value)):
            raise InvalidArgument(
                f"invalid JSON: the string in field {self.name_of(name)} holds a character that is not allowed"
            )
        return value

    def _wrong(self, value: object, name: str, wanted: str) -> NoReturn:
        raise InvalidArgument(
            f"invalid JSON: cannot unmarshal {_type_name(value)} into field {self.name_of(name)} of type {wanted}"
        )


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
