"""WWW-Authenticate headers (RFC 9110, 11.6.1), and the choice among the schemes a registry offers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Challenge", "choose", "parse"]

_LONGEST_HEADER = 8192
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PART = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))|({_TOKEN})|[,\s]+')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One scheme in lower case, and its parameters."""

    scheme: str
    parameters: Mapping[str, str]


def parse(headers: Iterable[str]) -> list[Challenge]:
    """All challenges of all the headers, in order. What cannot be read ends its header."""
    found: list[Challenge] = []
    for header in headers:
        found += _parse_one(header[:_LONGEST_HEADER])
    return found


def choose(challenges: Iterable[Challenge]) -> Challenge | None:
    """Bearer with a realm before Basic; None when there is neither."""
    usable = [
        c for c in challenges if c.scheme == "basic" or (c.scheme == "bearer" and c.parameters.get("realm"))
    ]
    return min(usable, key=lambda challenge: challenge.scheme != "bearer", default=None)


def _parse_one(header: str) -> list[Challenge]:
    found: list[Challenge] = []
    parameters: dict[str, str] = {}
    position = 0
    while position < len(header):
        match = _PART.match(header, position)
        if match is None:
            break
        position = match.end()
        name, quoted, plain, scheme = match.groups()
        if scheme:
            parameters = {}
            found.append(Challenge(scheme.lower(), parameters))
        elif name and found:
            parameters[name.lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return found
