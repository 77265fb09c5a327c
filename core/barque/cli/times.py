"""Moments: what users write after `--since`, and how lists and events show them."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone

from barque.cli.errors import CliError
from barque.cli.units import duration_ns

__all__ = ["api_time", "event_time", "go_time", "parse_rfc3339"]

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?(Z|[+-]\d\d:\d\d)?", re.ASCII
)
_UNIX = re.compile(r"-?\d+(?:\.\d{1,9})?", re.ASCII)


def api_time(value: str, now_ns: int | None = None) -> str:
    """`seconds.nanoseconds` from a Go duration before now, RFC 3339 (local when it has no zone), or Unix seconds."""
    if not value or _UNIX.fullmatch(value):
        return value
    try:
        moment = (time.time_ns() if now_ns is None else now_ns) - duration_ns(value)
    except ValueError:
        moment = parse_rfc3339(value)
    return f"{moment // 1_000_000_000}.{moment % 1_000_000_000:09d}"


def parse_rfc3339(value: str) -> int:
    """Nanoseconds since the epoch. Raises CliError."""
    match = _RFC3339.fullmatch(value)
    try:
        if match is None:
            raise ValueError
        *numbers, fraction, zone = match.groups()
        year, month, day, hour, minute, second = (int(number or 0) for number in numbers)
        moment = datetime(year, month, day, hour, minute, second)
        moment = moment.astimezone() if zone is None else moment.replace(tzinfo=_zone(zone))
    except (ValueError, OverflowError):
        raise CliError(f'failed to parse value as time or duration: "{value}"') from None
    return int(moment.timestamp()) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


def _zone(zone: str) -> timezone:
    moment = datetime.fromisoformat(f"2000-01-01T00:00:00{'+00:00' if zone == 'Z' else zone}").tzinfo
    if not isinstance(moment, timezone):
        raise ValueError(zone)
    return moment


def go_time(nanoseconds: int, zone: str = "") -> str:
    """As Go prints a time: `2026-11-21 22:51:20.93 +0000 UTC`, no fraction when there is none.

    `zone` is an offset (`+01:00`), empty or `Z` for UTC.
    """
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    shift = _zone(zone).utcoffset(None).total_seconds() if zone not in ("", "Z") else 0
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds + shift))
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    offset = zone.replace(":", "")
    return f"{text}{digits} {f'{offset} {offset}' if shift else '+0000 UTC'}"


def event_time(nanoseconds: int) -> str:
    """RFC 3339 in local time with nine digits."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    moment = time.localtime(seconds)
    zone = time.strftime("%z", moment)
    shown = "Z" if zone in ("+0000", "") else f"{zone[:3]}:{zone[3:]}"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{fraction:09d}{shown}"
