"""`--filter` as the API takes it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from barque.cli.errors import UsageError

__all__ = ["filters_parameter"]


def filters_parameter(flags: Sequence[str]) -> str:
    """The `filters` query parameter of `key=value` flags, empty without any."""
    found: dict[str, dict[str, bool]] = {}
    for value in flags:
        key, equals, wanted = value.partition("=")
        if not equals:
            raise UsageError(
                f'invalid argument "{value}" for "-f, --filter" flag: bad format of filter (expected name=value)'
            )
        found.setdefault(key.strip().lower(), {})[wanted.strip()] = True
    return json.dumps(found, separators=(",", ":")) if found else ""
