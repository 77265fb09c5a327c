"""The Dockerfile's HEALTHCHECK as an image config has it (`Healthcheck`: Test, and times in nanoseconds)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from barque.oci.dockerfile import split_instruction
from barque.spi.errors import InvalidArgument

__all__ = ["healthcheck"]

_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}
_MINIMUM_NS = 1_000_000
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}  # fmt: skip
_PART = re.compile(r"(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(ns|us|µs|μs|ms|s|m|h)")


def healthcheck(
    flags: list[str], arguments: str, exec_form: Callable[[str], list[str] | None]
) -> dict[str, Any]:
    """`flags` (`--interval=5s`) and what follows them, `NONE` or `CMD command`. Errors: InvalidArgument."""
    kind, rest = split_instruction(arguments)
    if not kind:
        raise InvalidArgument("HEALTHCHECK requires at least one argument")
    if kind.upper() == "NONE":
        if rest:
            raise InvalidArgument("HEALTHCHECK NONE takes no arguments")
        return {"Test": ["NONE"]}
    if kind.upper() != "CMD":
        raise InvalidArgument(f'Unknown type "{kind.upper()[:100]}" in HEALTHCHECK (try CMD)')
    command = exec_form(rest)
    if not rest or command == []:
        raise InvalidArgument("Missing command after HEALTHCHECK CMD")
    check: dict[str, Any] = {"Test": ["CMD-SHELL", rest] if command is None else ["CMD", *command]}
    given: set[str] = set()
    for flag in flags:
        name, equals, value = flag[2:].partition("=")
        if name != "retries" and name not in _TIMES:
            raise InvalidArgument(f"Unknown flag: {name}")
        if not equals:
            raise InvalidArgument(f"Missing a value on flag: {name}")
        if name in given:
            raise InvalidArgument(f"Duplicate flag specified: {name}")
        given.add(name)
        if name == "retries":
            check["Retries"] = _retries(value)
        else:
            check[_TIMES[name]] = _time(name, value)
    return {key: value for key, value in check.items() if value != 0}


def _retries(value: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,9}", value):
        raise InvalidArgument(f'strconv.ParseInt: parsing "{value[:40]}": invalid syntax')
    if int(value) < 0:
        raise InvalidArgument(f"--retries cannot be negative ({int(value)})")
    return int(value)


def _time(name: str, value: str) -> int:
    nanoseconds = _duration_ns(value)
    if nanoseconds and nanoseconds < _MINIMUM_NS:
        raise InvalidArgument(f'Interval "{name}" cannot be less than 1ms')
    return nanoseconds


def _duration_ns(text: str) -> int:
    """Go's durations: `1m30s`, `1.5h`, `0`."""
    unsigned = text.removeprefix("-").removeprefix("+")
    if unsigned == "0":
        return 0
    if re.fullmatch(r"[\d.]+", unsigned):
        raise InvalidArgument(f'time: missing unit in duration "{text[:40]}"')
    parts = _PART.findall(unsigned)
    if not parts or "".join(number + unit for number, unit in parts) != unsigned:
        raise InvalidArgument(f'time: invalid duration "{text[:40]}"')
    total = sum(_scaled(number, _UNITS[unit]) for number, unit in parts)
    if total >= 1 << 63:
        raise InvalidArgument(f'time: invalid duration "{text[:40]}"')
    return -total if text.startswith("-") else total


def _scaled(number: str, unit: int) -> int:
    """`1.5` of a unit, without a float."""
    whole, _, fraction = number.partition(".")
    parts: int = int(fraction or "0") * unit // 10 ** len(fraction)
    return int(whole or "0") * unit + parts
