"""`--log-opt`s of the journald driver: Docker's names and refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping

from barque.spi.errors import InvalidArgument

__all__ = ["validated"]

# The journal takes an entry or does not: there is nothing to be kept in a buffer, whose size is accepted for Docker's sake.
_KNOWN = frozenset(
    {
        "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size",
        "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress",
    }
)  # fmt: skip
_SIZE = re.compile(r"[0-9]+(?:\.[0-9]+)? ?[kmgt]?i?b?", re.IGNORECASE)


def validated(options: Mapping[str, str], driver: str) -> Mapping[str, str]:
    """`options` when all of them can work, else InvalidArgument."""
    for name in options:
        if name not in _KNOWN:
            raise InvalidArgument(
                f"unknown log opt '{name}' for {driver} log driver",
                hint=f"known are {', '.join(sorted(_KNOWN))}",
            )
    mode = options.get("mode", "") or "blocking"
    if mode not in ("blocking", "non-blocking"):
        raise InvalidArgument(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in options:
        if mode == "blocking":
            raise InvalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        if not _SIZE.fullmatch(options["max-buffer-size"].strip()):
            raise InvalidArgument(
                f"error parsing option max-buffer-size: invalid size: '{options['max-buffer-size']}'"
            )
    for name in ("labels-regex", "env-regex"):
        try:
            re.compile(options.get(name, ""))
        except re.error as error:
            raise InvalidArgument(f"invalid value for {name}: '{options[name]}': {error}") from error
    return dict(options)
