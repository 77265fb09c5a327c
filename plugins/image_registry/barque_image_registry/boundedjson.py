"""JSON from strangers: bounded in depth and in the number of values before anything is built from it."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from barque.spi.errors import InvalidArgument

__all__ = ["read_object"]

_DEEPEST = 64
# A value costs about 60 bytes of memory for as little as 3 of text.
_MOST_VALUES = 200_000
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def read_object(data: bytes, what: str) -> dict[str, Any]:
    """The object that `data` is. InvalidArgument names `what` when it is not one, or too deep, or too large."""
    if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise InvalidArgument(f"{what} has more than {_MOST_VALUES} values")
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", data)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > _DEEPEST:
            raise InvalidArgument(f"{what} is nested deeper than {_DEEPEST} levels")
    try:
        document = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidArgument(f"{what} is not a JSON object")
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")
