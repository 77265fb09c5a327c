"""The size that a terminal begins with."""

from __future__ import annotations

from barque.spi.errors import InvalidArgument
from barque_api_docker.fields import Fields

__all__ = ["console_size"]


def console_size(fields: Fields) -> tuple[int, int] | None:
    """`ConsoleSize` as (height, width); None for none. Errors: InvalidArgument."""
    size = fields.raw.get("ConsoleSize")
    if not size or size == [0, 0]:
        return None
    if not isinstance(size, list) or len(size) != 2 or not all(map(_is_size, size)):
        raise InvalidArgument("invalid JSON: ConsoleSize must be a list of two sizes, height and width")
    return size[0], size[1]


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 65536
