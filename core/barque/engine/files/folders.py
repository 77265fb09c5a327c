"""The directories of a container that a copy goes into: descriptors of them, those that are missing, their times."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from barque.spi.trees.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

__all__ = ["Folders"]

_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_OPEN = os.O_PATH | os.O_DIRECTORY
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_CACHE_SIZE = 64
_IMPLICIT_MODE = 0o755


class Folders:
    """The directories below `target`, a path in the container at `root`. Each is found as a program in the container would: through
    links, its own root at their top."""

    def __init__(self, root: int, target: bytes) -> None:
        self._root = root
        self._target = target.rstrip(b"/")
        self._fds: dict[bytes, int] = {}
        self._times: dict[bytes, tuple[int, int, int]] = {}

    def open(self, path: bytes) -> int:
        """A descriptor (to be used, not closed) of the directory `path`, made if it is missing."""
        fd = self._fds.pop(path, None)
        if fd is None:
            try:
                fd = self._resolve(path)
            except FileNotFoundError:
                fd = self._make(path)
        return self._remember(path, fd)

    def existing(self, path: bytes) -> int:
        """As `open`, but FileNotFoundError when the directory is missing."""
        fd = self._fds.pop(path, None)
        return self._remember(path, self._resolve(path) if fd is None else fd)

    def forget(self) -> None:
        """Close all descriptors: a directory or a link that a path went through has been replaced."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def time(self, path: bytes, fd: int, mtime_ns: int) -> None:
        """Keep the time that the directory `path`, which is `fd`, shall have when nothing is made in it any more."""
        status = os.fstat(fd)
        self._times[path] = (status.st_dev, status.st_ino, mtime_ns)

    def set_times(self) -> None:
        """Set the kept times, of those directories that are still there."""
        for path, (device, inode, mtime_ns) in self._times.items():
            try:
                fd = openat2(self._root, self._full(path), _READ, _RESOLVE)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue
                raise
            try:
                status = os.fstat(fd)
                if (status.st_dev, status.st_ino) == (device, inode):
                    os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)

    def _full(self, path: bytes) -> bytes:
        return b"%b/%b" % (self._target, path)

    def _resolve(self, path: bytes) -> int:
        return openat2(self._root, self._full(path), _OPEN, _RESOLVE)

    def _remember(self, path: bytes, fd: int) -> int:
        if len(self._fds) >= _CACHE_SIZE:
            os.close(self._fds.pop(next(iter(self._fds))))  # the least recently used comes first
        self._fds[path] = fd
        return fd

    def _make(self, path: bytes) -> int:
        """Make what is missing on the way to `path`, component by component."""
        parent = self._resolve(b"")
        parts = path.split(b"/")
        for count, name in enumerate(parts, 1):
            prefix = b"/".join(parts[:count])
            try:
                fd = self._resolve(prefix)
            except FileNotFoundError:
                fd = self._make_one(parent, name, prefix)
            finally:
                os.close(parent)
            parent = fd
        return parent

    def _make_one(self, parent: int, name: bytes, prefix: bytes) -> int:
        with suppress(FileExistsError):  # somebody else made it just now, or it is a link
            os.mkdir(name, _IMPLICIT_MODE, dir_fd=parent)
        try:
            return self._resolve(prefix)
        except FileNotFoundError:
            raise NotADirectoryError(errno.ENOTDIR, "a link in its path leads nowhere") from None
