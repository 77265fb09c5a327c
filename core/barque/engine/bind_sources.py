"""The directories of the host that `-v /host:/path` makes when there are none."""

from __future__ import annotations

import os

__all__ = ["make_source"]

_MODE = 0o755


def make_source(path: str) -> None:
    """Make the directory and those above it, for all users to enter, whatever the daemon's umask is. Idempotent, also beside other
    starts. Errors: OSError."""
    if os.path.lexists(path):
        return
    make_source(os.path.dirname(path.rstrip("/")))
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    made = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(made, _MODE)
    finally:
        os.close(made)
