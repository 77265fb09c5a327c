"""The way down a tree of any depth, by descriptors, of which only the last 64 are held."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["OPEN_DIRECTORY", "Descent"]

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_HELD = 64


@dataclass(slots=True)
class _Step:
    """A directory; `fd` is -1 while it is closed to save descriptors."""

    fd: int
    device: int
    inode: int


class Descent:
    """A stack of directories, each below the one before it. Use as a context manager."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []

    def __enter__(self) -> Descent:
        return self

    def __exit__(self, *_exception: object) -> None:
        for step in self._steps:
            if step.fd >= 0:
                os.close(step.fd)
        self._steps.clear()

    @property
    def fd(self) -> int:
        """The directory that was entered last. It stays the descent's."""
        return self._steps[-1].fd

    def enter(self, fd: int, status: os.stat_result) -> None:
        """Go down into the directory `fd`, which is the descent's from now on."""
        self._steps.append(_Step(fd, status.st_dev, status.st_ino))
        if len(self._steps) > _MAX_HELD:
            far = self._steps[-_MAX_HELD - 1]
            os.close(far.fd)
            far.fd = -1

    def leave(self) -> bool:
        """Go up. A directory that was closed is opened again by `..`; False when that is another one now, since somebody moved the
        tree: what is left to do there cannot be done."""
        step = self._steps.pop()
        above = self._steps[-1] if self._steps else None
        try:
            if above is None or above.fd >= 0:
                return True
            above.fd = os.open("..", OPEN_DIRECTORY, dir_fd=step.fd)
            status = os.fstat(above.fd)
            return (status.st_dev, status.st_ino) == (above.device, above.inode)
        finally:
            os.close(step.fd)
