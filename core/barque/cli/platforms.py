"""`--platform` as the API takes it for stored images."""

from __future__ import annotations

import json
import re

from barque.cli.errors import CliError

__all__ = ["platform_parameter"]

_PART = re.compile(r"[A-Za-z0-9_.-]+")


def platform_parameter(text: str) -> str:
    """`os/architecture[/variant]` as JSON, empty for nothing. Raises CliError."""
    if not text:
        return ""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(map(_PART.fullmatch, parts)):
        raise CliError(
            f'invalid platform: "{text}"', hint="write os/architecture[/variant], such as linux/arm64"
        )
    names = ("os", "architecture", "variant")
    return json.dumps(dict(zip(names, parts, strict=False)), separators=(",", ":"), sort_keys=True)
