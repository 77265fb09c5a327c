"""`--security-opt`: what of it the client resolves before the daemon sees it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from barque.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["security_options"]

_PROFILE_LIMIT = 16 * 1024 * 1024


def security_options(options: Sequence[str]) -> dict[str, Any]:
    """The HostConfig fields: a seccomp profile's file is read here, `systempaths=unconfined` lifts the path masks."""
    passed: list[str] = []
    fields: dict[str, Any] = {}
    for option in options:
        key, separator, value = option.partition("=")
        if not separator:
            key, separator, value = option.partition(":")
        if option == "systempaths=unconfined":  # nothing but this very text, as the docker CLI
            fields |= {"MaskedPaths": [], "ReadonlyPaths": []}
        elif key == "seccomp" and value not in ("unconfined", "builtin"):
            passed.append(f"seccomp={_profile(value)}")
        elif not separator and key != "no-new-privileges":
            raise CliError(f'Invalid --security-opt: "{option}"')
        else:
            passed.append(option)
    return fields | {"SecurityOpt": passed}


def _profile(path: str) -> str:
    try:
        with open(path, "rb") as file:
            raw = file.read(_PROFILE_LIMIT + 1)
    except OSError as error:
        raise CliError(
            f"opening seccomp profile ({path}) failed: open {path}: {(error.strerror or '').lower()}"
        ) from error
    try:
        if len(raw) > _PROFILE_LIMIT:
            raise ValueError("it is too large")
        return json.dumps(json.loads(raw), separators=(",", ":"))
    except ValueError as error:
        raise CliError(f"compacting json for seccomp profile ({path}) failed: {error}") from error
