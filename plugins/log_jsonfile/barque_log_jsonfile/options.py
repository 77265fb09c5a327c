"""`--log-opt`s of the json-file driver: Docker's names, values and refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from barque.spi.errors import InvalidArgument

__all__ = ["Limits", "validated"]

# labels, env and tag choose the attributes, which the engine resolves into `LogSpec.attributes`.
# A container never waits for this log, so both modes of delivery are the same.
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
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)b?", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_MAX_FILES = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_size` in bytes (0: unbounded), `max_files`, the current one included, and whether the others are compressed."""

    max_size: int
    max_files: int
    compress: bool = False

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Limits:
        """The limits in complete options; InvalidArgument names the bad one."""
        return cls(
            _size(options["max-size"]), _count(options["max-file"]), _flag(options.get("compress", "false"))
        )


def validated(options: Mapping[str, str], driver: str) -> Mapping[str, str]:
    """`options` when all of them can work, else InvalidArgument."""
    for name in options:
        if name not in _KNOWN:
            raise InvalidArgument(
                f"unknown log opt '{name}' for {driver} log driver",
                hint=f"known are {', '.join(sorted(_KNOWN))}",
            )
    limits = Limits.of(options)
    if limits.compress and (limits.max_files < 2 or not limits.max_size):
        raise InvalidArgument(
            "compress cannot be true when max-file is less than 2 or max-size is not set",
            hint="only files that are not written any more are compressed",
        )
    _check_mode(options)
    for name in ("labels-regex", "env-regex"):
        _check_regex(name, options.get(name, ""))
    return dict(options)


def _size(text: str) -> int:
    if text == "-1":
        return 0
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * 1000 ** _POWER[match[2].lower()]) if match else 0
    if size <= 0:
        raise InvalidArgument(
            f"invalid value for max-size: '{text}': max-size must be a positive number",
            hint="write it as 500k, 20m or 1g, or -1 for no limit",
        )
    return size


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MAX_FILES:
        raise InvalidArgument(
            f"invalid value for max-file: '{text}': max-file cannot be less than 1 or more than {_MAX_FILES}"
        )
    return int(text)


def _flag(text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise InvalidArgument(f"invalid value for compress: '{text}'", hint="true or false")
    return text in _TRUE


def _check_mode(options: Mapping[str, str]) -> None:
    mode, buffer = options.get("mode", "") or "blocking", options.get("max-buffer-size")
    if mode not in ("blocking", "non-blocking"):
        raise InvalidArgument(f"logger: logging mode not supported: {mode}")
    if buffer is not None and mode == "blocking":
        raise InvalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
    if buffer is not None and not _SIZE.fullmatch(buffer.strip()):
        raise InvalidArgument(
            f"error parsing option max-buffer-size: invalid size: '{buffer}'", hint="such as 4m"
        )


def _check_regex(name: str, text: str) -> None:
    try:
        re.compile(text)
    except re.error as error:
        raise InvalidArgument(f"invalid value for {name}: '{text}': {error}") from error
