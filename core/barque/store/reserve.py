"""Room kept for the moment when the disk is full: to delete something a database must write, too."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from barque.spi.trees.syscalls import fallocate

__all__ = ["Reserve"]


class Reserve:
    """A file of `size` allocated bytes, given up by `release` and made again by `restore`. Best effort: neither raises."""

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        self._there = False
        self.restore()

    def release(self) -> bool:
        """Give up the room; False when there is none."""
        with suppress(OSError):
            self._there = False
            self._path.unlink()
            return True
        return False

    def restore(self) -> None:
        """Take the room again, if the disk has it. Idempotent."""
        if self._there:
            return
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fallocate(fd, 0, self._size)
            finally:
                os.close(fd)
            self._there = True
        except OSError:  # no room, or a file system that cannot: then there is no reserve
            self.release()
