"""`--log-opt`s of the local driver: Docker's names, values and refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from barque.spi.errors import InvalidArgument

__all__ = ["Limits", "validated"]

# labels, env and tag choose the attributes, which the engine resolves into `LogSpec.attributes`. A container never waits for this
# log, so both modes of delivery are the same.
_KNOWN = frozenset(
    {
        "max-size",
        "max-file",
        "compress",
        "labels",
        "labels-regex",
        "env",
        "env-regex",
        "tag",
        "mode",
        "max-buffer-size",
    }
)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)i?b?", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_MAX_FILES = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_size` of a file in bytes (0: no limit), `max_files` with the current one, whether the others are compressed."""

    max_size: int
    max_files: int
    compress: bool

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Limits:
        """The limits in complete options; InvalidArgument names the bad one."""
        size = 0 if options["max-size"] == "-1" else _size("max-size", options["max-size"])
        return cls(size, _count(options["max-file"]), _flag(options["compress"]))


def validated(options: Mapping[str, str], driver: str) -> Mapping[str, str]:
    """`options` when all of them can work, else InvalidArgument."""
    for name in options:
        if name not in _KNOWN:
            raise InvalidArgument(
                f"unknown log opt '{name}' for {driver} log driver",
                hint=f"known are {', '.join(sorted(_KNOWN))}",
            )
    Limits.of(options)
    if options.get("mode", "") not in ("", "blocking", "non-blocking"):
        raise InvalidArgument(f"logger: logging mode not supported: {options['mode']}")
    if "max-buffer-size" in options:
        if options.get("mode") != "non-blocking":
            raise InvalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        _size("max-buffer-size", options["max-buffer-size"])
    for name in ("labels-regex", "env-regex"):
        try:
            re.compile(options.get(name, ""))
        except re.error as error:
            raise InvalidArgument(f"invalid value for {name}: '{options[name]}': {error}") from error
    return dict(options)


def _size(name: str, text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * 1000 ** _POWER[match[2].lower()]) if match else 0
    if size <= 0:
        raise InvalidArgument(
            f"invalid value for {name}: '{text}': {name} must be a positive number",
            hint="write it as 500k, 20m or 1g",
        )
    return size


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:5]) <= _MAX_FILES:
        raise InvalidArgument(
            f"invalid value for max-file: '{text}': max-file cannot be less than 1 or more than {_MAX_FILES}"
        )
    return int(text)


def _flag(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise InvalidArgument(f"invalid value for compress: '{text}'", hint="true or false")
    return _BOOLEANS[text.lower()]
