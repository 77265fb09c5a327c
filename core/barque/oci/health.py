"""A container's healthcheck: what it inherits from its image, what is wrong with it, and the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from barque.spi.container import Healthcheck
from barque.spi.errors import InvalidArgument

__all__ = ["check_healthcheck", "inherit", "resolved"]

_IMAGE_FIELDS = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")  # in Healthcheck's order
_MINIMUM_NS = 1_000_000
_DEFAULTS = {
    "interval_ns": 30 * 10**9,
    "timeout_ns": 30 * 10**9,
    "start_period_ns": 0,
    "start_interval_ns": 5 * 10**9,
    "retries": 3,
}


def inherit(own: Healthcheck | None, image: Any) -> Healthcheck | None:
    """A container's healthcheck: what its own leaves open is the image's (the `Healthcheck` object of its config)."""
    theirs = _of_image(image)
    if own is None or theirs is None:
        return own or theirs
    return Healthcheck(*(getattr(own, f.name) or getattr(theirs, f.name) for f in fields(Healthcheck)))


def _of_image(document: Any) -> Healthcheck | None:
    """Nonsense in an image is no healthcheck."""
    if not isinstance(document, Mapping) or not document:
        return None
    test = document.get("Test") or ()
    times = [document.get(name) or 0 for name in _IMAGE_FIELDS]
    words = isinstance(test, list | tuple) and all(isinstance(word, str) for word in test)
    if not words or not all(isinstance(time, int) and 0 <= time < 1 << 63 for time in times):
        return None
    return Healthcheck(tuple(test), *times)


def resolved(check: Healthcheck | None) -> Healthcheck | None:
    """With Docker's defaults where nothing was said; None when nothing is to be tested."""
    if check is None or not check.test or check.test[0] not in ("CMD", "CMD-SHELL") or len(check.test) < 2:
        return None
    complete: dict[str, Any] = {name: getattr(check, name) or usual for name, usual in _DEFAULTS.items()}
    return replace(check, **complete)


def check_healthcheck(check: Healthcheck | None) -> None:
    """Errors: InvalidArgument, in Docker's words."""
    if check is None:
        return
    named = (
        ("Interval", check.interval_ns),
        ("Timeout", check.timeout_ns),
        ("StartPeriod", check.start_period_ns),
        ("StartInterval", check.start_interval_ns),
    )
    for name, value in named:
        if value and value < _MINIMUM_NS:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")
