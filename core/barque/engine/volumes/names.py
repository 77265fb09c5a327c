"""Names of volumes, and paths in containers where something is mounted."""

from __future__ import annotations

import posixpath
import re

from barque.spi.errors import InvalidArgument

__all__ = ["check_volume_name", "clean_path"]

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)
_MAX_NAME = 255


def clean_path(path: str) -> str:
    """Absolute, without `.`, `..` and doubled slashes: normpath(3) of Python leaves two at the beginning."""
    return "/" + posixpath.normpath(f"/{path}").lstrip("/")


def check_volume_name(name: str) -> None:
    """Errors: InvalidArgument, in Docker's words."""
    if len(name) == 1:
        raise InvalidArgument(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if len(name) > _MAX_NAME:
        raise InvalidArgument(f"create {name[:20]}…: volume name is longer than {_MAX_NAME} characters")
