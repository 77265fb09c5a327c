"""Waiting for a change in a directory: inotify(7) through ctypes, a plain sleep where the kernel has no instance left."""

from __future__ import annotations

import ctypes
import os
import select
import time
from types import TracebackType

__all__ = ["DirectoryWatch"]

_IN_MODIFY, _IN_MOVED_TO, _IN_CREATE = 0x2, 0x80, 0x100
_EVENTS = 64 * 1024


class DirectoryWatch:
    """Tells when files in `directory` were written, made or moved. Changes since the construction count."""

    def __init__(self, directory: str) -> None:
        self._fd = _watch(directory)

    def __enter__(self) -> DirectoryWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def wait(self, seconds: float) -> None:
        """Return after a change, or when `seconds` are over."""
        if self._fd < 0:
            time.sleep(seconds)
            return
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if poll.poll(seconds * 1000):
            os.read(self._fd, _EVENTS)


def _watch(directory: str) -> int:
    """An inotify descriptor, or -1: fs.inotify.max_user_instances is used up, or the directory is gone."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if (
        fd >= 0
        and libc.inotify_add_watch(fd, os.fsencode(directory), _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE) < 0
    ):
        os.close(fd)
        return -1
    return fd
