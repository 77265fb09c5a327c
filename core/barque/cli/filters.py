"""`--filter`, and how the API takes it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from barque.cli.flags import Option, repeated

__all__ = ["filter_option", "filters_parameter"]


def filter_option(help: str, short: str = "") -> Option:
    """The flag `--filter`."""
    return repeated("filter", help, short=short, metavar="filter", check=_checked)


def _checked(value: str) -> str:
    if "=" not in value:
        raise ValueError("bad format of filter (expected name=value)")
    return value


def filters_parameter(flags: Sequence[str]) -> str:
    """The `filters` query parameter of `key=value` flags, empty without any."""
    found: dict[str, dict[str, bool]] = {}
    for value in flags:
        key, _, wanted = value.partition("=")
        found.setdefault(key.strip().lower(), {})[wanted.strip()] = True
    return json.dumps(found, separators=(",", ":")) if found else ""
