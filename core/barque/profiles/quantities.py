"""Sizes and times as people write them in a profile."""

from __future__ import annotations

import re

__all__ = ["parse_age", "parse_size"]

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([kmgtp]?)(i?b?)", re.IGNORECASE)
_AGE = re.compile(r"(?:\d{1,9}(?:\.\d{1,6})?(?:d|h|ms|m|s))+")
_AGE_PART = re.compile(r"(\d+(?:\.\d+)?)(d|h|ms|m|s)")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def parse_size(value: int | str) -> int:
    """Bytes of `20GB` (10^9 each, as `df` prints them), `20GiB` (2^30 each), `512MB`, `1000`. Errors: ValueError."""
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"{value} is less than nothing")
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is no size: write bytes, or for example 20GB or 18GiB")
    number, letter, unit = match.groups()
    base = 1024 if unit.lower().startswith("i") else 1000
    return int(float(number) * base ** " kmgtp".index(letter.lower() or " "))


def parse_age(value: str) -> float:
    """Seconds of `720h`, `30m`, `1h30m`, `7d`; the empty string is never: 0. Errors: ValueError."""
    text = value.strip()
    if not text:
        return 0.0
    if not _AGE.fullmatch(text):
        raise ValueError(f"{value!r} is no length of time: write for example 720h, 90m or 30d")
    return sum(float(number) * _SECONDS[unit] for number, unit in _AGE_PART.findall(text))
