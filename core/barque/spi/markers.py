"""How a driver marks its hooks, without importing pluggy.

pluggy looks for the attribute `barque_impl` on a function. Setting it here, and not through
`pluggy.HookimplMarker`, keeps the shim and the launcher free of pluggy (ARCHITECTURE section 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["hookimpl", "needs"]

F = TypeVar("F", bound=Callable[..., object])

_OPTIONS = {
    "wrapper": False,
    "hookwrapper": False,
    "optionalhook": False,
    "tryfirst": False,
    "trylast": False,
    "specname": None,
}


def hookimpl(function: F) -> F:
    """Mark a method of a driver as the implementation of the hook of the same name."""
    setattr(function, "barque_impl", dict(_OPTIONS))  # noqa: B010
    return function


def needs(capability: str) -> Callable[[F], F]:
    """Mark a hook specification that only drivers with `capability` must implement."""

    def mark(function: F) -> F:
        setattr(function, "barque_needs", capability)  # noqa: B010
        return function

    return mark
