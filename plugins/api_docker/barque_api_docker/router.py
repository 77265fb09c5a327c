"""Finds the handler of a method and path."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["Router"]

Handler = TypeVar("Handler")
_PARAMETER = re.compile(r"\{(\w+)(\*?)\}")


class Router(Generic[Handler]):
    """A table of (method, pattern, handler). `{id}` in a pattern is one segment, `{name*}` one or more with their slashes.

    The first pattern that fits wins. Patterns are kept by method and first segment, so a look-up tries a handful.
    """

    def __init__(self, routes: Iterable[tuple[str, str, Handler]]) -> None:
        self._routes: dict[tuple[str, str], list[tuple[re.Pattern[str], Handler]]] = {}
        for method, pattern, handler in routes:
            key = (method, pattern.split("/", 2)[1])
            self._routes.setdefault(key, []).append((_compile(pattern), handler))

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
        """The handler and the parameters in `path`, or None."""
        first = path[1:].partition("/")[0]
        for pattern, handler in self._routes.get((method, first), ()):
            if match := pattern.fullmatch(path):
                return handler, match.groupdict()
        return None


def _compile(pattern: str) -> re.Pattern[str]:
    expression = _PARAMETER.sub(lambda m: f"(?P<{m[1]}>{'.+' if m[2] else '[^/]+'})", pattern)
    return re.compile(expression)
