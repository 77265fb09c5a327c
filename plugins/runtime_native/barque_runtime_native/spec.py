"""Typed reading of an OCI `config.json` (runtime-spec 1.2): every error names the field, as `process.user.uid`."""

from __future__ import annotations

import os

from barque.spi.errors import InvalidArgument, NotImplemented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MAX_UINT32 = 2**32 - 1
MAX_UINT64 = 2**64 - 1

# Fields of the specification that this runtime does not honour: one that is set is refused, never ignored.
REFUSED = (
    ("process", "commandLine"),
    ("process", "user", "username"),
    ("solaris",),
    ("windows",),
    ("vm",),
    ("zos",),
    ("freebsd",),
)


class Section:
    """One JSON object of the configuration and the name it has there. A null or missing member reads as its default."""

    __slots__ = ("name", "values")

    def __init__(self, values: Mapping[str, Any], name: str = "") -> None:
        self.values = values
        self.name = name

    def path(self, key: str) -> str:
        """The full name of member `key`."""
        return f"{self.name}.{key}" if self.name else key

    def has(self, key: str) -> bool:
        """Whether member `key` is present and not null."""
        return self.values.get(key) is not None

    def text(self, key: str, default: str = "") -> str:
        """A string without NUL bytes."""
        value = self.values.get(key)
        if value is None:
            return default
        return self._text(value, key)

    def required(self, key: str) -> str:
        """A string that must not be empty."""
        value = self.text(key)
        if not value:
            raise InvalidArgument(f"{self.path(key)} is missing")
        return value

    def _text(self, value: object, key: str) -> str:
        if not isinstance(value, str) or "\0" in value:
            raise InvalidArgument(f"{self.path(key)} is not a string without NUL bytes")
        if not value.isascii():
            check_characters(value, self.path(key))
        return value

    def texts(self, key: str) -> list[str]:
        """A list of strings."""
        return [self._text(value, key) for value in self._list(key)]

    def boolean(self, key: str) -> bool:
        """A boolean, false by default."""
        value = self.values.get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise InvalidArgument(f"{self.path(key)} is not a boolean")
        return value

    def integer(self, key: str, low: int = 0, high: int = MAX_UINT64) -> int | None:
        """An integer from `low` to `high`; None when it is not set."""
        value = self.values.get(key)
        return None if value is None else self._integer(value, key, low, high)

    def _integer(self, value: object, key: str, low: int, high: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidArgument(f"{self.path(key)} is not an integer from {low} to {high}: {value!r}")
        return value

    def integers(self, key: str, low: int = 0, high: int = MAX_UINT32) -> list[int]:
        """A list of integers from `low` to `high`."""
        return [self._integer(value, key, low, high) for value in self._list(key)]

    def section(self, key: str) -> Section:
        """An object; empty when it is not set."""
        value = self.values.get(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise InvalidArgument(f"{self.path(key)} is not an object")
        return Section(value, self.path(key))

    def sections(self, key: str) -> list[Section]:
        """A list of objects."""
        items = self._list(key)
        if not all(isinstance(item, dict) for item in items):
            raise InvalidArgument(f"{self.path(key)} is not a list of objects")
        return [Section(item, f"{self.path(key)}[{index}]") for index, item in enumerate(items)]

    def mapping(self, key: str) -> dict[str, str]:
        """An object whose members are all strings."""
        section = self.section(key)
        return {name: section._text(section.values[name], name) for name in section.names()}

    def names(self) -> list[str]:
        """The keys of an object whose keys the user chooses: each a string as `text` reads them."""
        return [self._text(name, name) for name in self.values]

    def choice(self, key: str, choices: Mapping[str, int]) -> int | None:
        """The number a word stands for; None when it is not set."""
        word = self.text(key)
        if not word:
            return None
        if word not in choices:
            raise InvalidArgument(
                f"{self.path(key)}: unknown value {word!r}", hint="known: " + ", ".join(sorted(choices))
            )
        return choices[word]

    def _list(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            raise InvalidArgument(f"{self.path(key)} is not a list")
        return list(value)


def check_characters(text: str, field: str) -> None:
    """Errors: InvalidArgument for half a character, as JSON can write it ("\\ud800") and no kernel interface can take it."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{field} is not a string of characters: {text!a}") from error


def refuse_unsupported(root: Section) -> None:
    """Errors: NotImplemented that names the first field of REFUSED that is set."""
    for path in REFUSED:
        section = root
        for key in path[:-1]:
            section = section.section(key)
        if section.values.get(path[-1]) not in (None, "", {}, []):
            raise NotImplemented(f"{'.'.join(path)} is not supported by the native runtime", hint="remove it")


def check_version(root: Section) -> None:
    """Errors: InvalidArgument unless `ociVersion` is 1.x."""
    version = root.required("ociVersion")
    if not version.startswith("1."):
        raise InvalidArgument(f"ociVersion {version} is not supported", hint="this runtime knows 1.0 to 1.3")
