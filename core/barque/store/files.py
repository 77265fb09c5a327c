"""Files that survive a power cut: written, synced, renamed, their directory synced."""

from __future__ import annotations

import os
import threading
from pathlib import Path

__all__ = ["sync_directory", "write_atomic"]


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `data`, durable on return; a crash leaves the old content or the new one. Errors: OSError (the old one is left)."""
    temporary = path.with_name(
        f".{path.name}.{threading.get_native_id()}.tmp"
    )  # two threads may write one file
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """fsync(2) of a directory: what was renamed into it stays."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
