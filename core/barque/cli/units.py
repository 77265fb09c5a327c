"""Sizes and durations in the words of Docker's users: `13.3kB`, `512m`, `2 minutes`, `1h30m`."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

__all__ = [
    "binary_size",
    "cpus",
    "duration_ns",
    "human_duration",
    "human_size",
    "memory",
    "memory_or_unlimited",
]

_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DURATION_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}


def human_size(size: float, digits: int = 3) -> str:
    """Bytes with decimal prefixes and so many significant digits: 13257 is `13.3kB`."""
    index = 0
    while size >= 1000 and index < len(_PREFIXES) - 1:
        size /= 1000
        index += 1
    return f"{size:.{digits}g}{_PREFIXES[index]}B"


def binary_size(size: float) -> str:
    """Bytes with binary prefixes and four significant digits: 1572864 is `1.5MiB`."""
    index = 0
    while size >= 1024 and index < len(_BINARY) - 1:
        size /= 1024
        index += 1
    return f"{size:.4g}{_BINARY[index]}"


def human_duration(seconds: float) -> str:
    """A rough duration: `5 seconds`, `About an hour`, `3 weeks`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    return _long_duration(hours)


def _long_duration(hours: int) -> str:
    day, week, month, year = 24, 24 * 7, 24 * 30, 24 * 365
    for limit, unit, name in ((48, 1, "hours"), (2 * week, day, "days"), (2 * month, week, "weeks")):
        if hours < limit:
            return f"{hours // unit} {name}"
    return f"{hours // month} months" if hours < 2 * year else f"{hours // year} years"


def memory(value: str) -> int:
    """Bytes from `512m`, `1.5g`, `1024`, `64KiB`: binary multiples whatever the spelling. Raises ValueError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(.*)", value)
    if match is None:
        raise ValueError(f"invalid size: '{value}'")
    suffix = match[2].lower()
    if not re.fullmatch(r"(?:[kmgtp]?(?:i?b)?)", suffix) or suffix == "ib":
        raise ValueError(f"invalid suffix: '{suffix}'")
    return int(Decimal(match[1]) * 1024 ** "bkmgtp".index(suffix[:1] or "b"))


def memory_or_unlimited(value: str) -> int:
    """As `memory`, and -1 for no limit."""
    return -1 if value == "-1" else memory(value)


def cpus(value: str) -> int:
    """Billionths of a CPU from `1.5` or `3/2`. Raises ValueError."""
    numerator, slash, denominator = value.partition("/")
    try:
        amount = Decimal(numerator) / (Decimal(denominator) if slash else 1) * 1_000_000_000
    except (InvalidOperation, ZeroDivisionError):
        raise ValueError(f"failed to parse {value} as a rational number") from None
    if amount != amount.to_integral_value():
        raise ValueError("value is too precise")
    return int(amount)


def duration_ns(value: str) -> int:
    """Nanoseconds from a Go duration (`1h30m`, `-1.5s`, `0`). Raises ValueError."""
    sign = -1 if value.startswith("-") else 1
    rest = value.removeprefix("-") if sign < 0 else value.removeprefix("+")
    if rest == "0":
        return 0
    parts = re.findall(r"([0-9]*\.?[0-9]*)(ns|us|µs|μs|ms|s|m|h)", rest)
    if re.fullmatch(r"[0-9]*\.?[0-9]*", rest) and rest not in ("", "."):
        raise ValueError(f'time: missing unit in duration "{value}"')
    if not rest or "".join(number + unit for number, unit in parts) != rest or ("" in dict(parts)):
        raise ValueError(f'time: invalid duration "{value}"')
    try:
        return sign * int(sum(Decimal(number) * _DURATION_NS[unit] for number, unit in parts))
    except InvalidOperation:
        raise ValueError(f'time: invalid duration "{value}"') from None
