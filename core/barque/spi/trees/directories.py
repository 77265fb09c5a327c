"""Directories of a layer while it is unpacked: descriptors of parents, and attributes that are set at the end.

Every path is resolved by openat2(2) with RESOLVE_IN_ROOT below the layer's own root: a symbolic link that an
earlier entry made leads to where it would lead inside a container, and never out of the layer.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from barque.spi.trees import xattrs
from barque.spi.trees.header import Entry
from barque.spi.trees.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, openat2
from barque.spi.trees.whiteouts import Whiteouts

__all__ = ["Directories", "is_whiteout"]

_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
_OPEN_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_CACHE_SIZE = 64
_IMPLICIT_MODE = 0o755


@dataclass(frozen=True, slots=True)
class _Attributes:
    path: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: dict[bytes, bytes] | None


class Directories:
    """The directories below `root_fd`. `made` counts those created here, and files that mark some as opaque."""

    def __init__(self, root_fd: int, whiteouts: Whiteouts) -> None:
        self.made = 0
        self._root_fd = root_fd
        self._whiteouts = whiteouts
        self._fds: dict[bytes, int] = {}
        self._attributes: dict[int, _Attributes] = {}

    def fd_of(self, path: bytes) -> int:
        """A descriptor (to be used, not closed) of the directory `path`, which is made if it is missing."""
        if not path:
            return self._root_fd
        fd = self._fds.pop(path, None)
        if fd is None:
            return self._remember(path, self._open_or_make(path))
        self._fds[path] = fd  # the least recently used comes first
        return fd

    def existing_fd(self, path: bytes) -> int:
        """As `fd_of`, but FileNotFoundError when the directory is missing."""
        if not path or path in self._fds:
            return self.fd_of(path)
        return self._remember(path, self._open(path))

    def forget(self) -> None:
        """Close all descriptors: a directory or a link that a path went through has been replaced."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def make(self, path: bytes, parent_fd: int, base: bytes, opaque: bool) -> None:
        """Create the directory `base`, closed to everybody until `finish`."""
        os.mkdir(base, 0o700, dir_fd=parent_fd)
        self.made += 1
        attributes = _Attributes(path, _IMPLICIT_MODE, 0, 0, -1, None)
        self._attributes[os.stat(base, dir_fd=parent_fd, follow_symlinks=False).st_ino] = attributes
        if opaque:
            self.make_opaque(parent_fd, base)

    def make_opaque(self, parent_fd: int, base: bytes = b".") -> None:
        """Let the directory hide what lower layers have below its name."""
        fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            self.made += self._whiteouts.make_opaque(fd)
        finally:
            os.close(fd)

    def describe(self, entry: Entry, path: bytes, parent_fd: int, base: bytes) -> None:
        """Keep the attributes `entry` gives to the existing directory `base` (the root itself when empty)."""
        status = os.stat(base, dir_fd=parent_fd, follow_symlinks=False) if base else os.fstat(parent_fd)
        attributes = _Attributes(path, entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.xattrs)
        self._attributes[status.st_ino] = attributes

    def finish(self) -> None:
        """Set owner, mode, attributes and time of all directories, deepest first: nothing is created any more.

        A path may have come to lead elsewhere since; the inode number tells, since no directory that this unpacking
        made is freed before its end.
        """
        self.forget()
        for inode, attributes in sorted(self._attributes.items(), key=lambda item: -len(item[1].path)):
            try:
                fd = openat2(
                    self._root_fd,
                    attributes.path or b".",
                    os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW,
                    _RESOLVE,
                )
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                if error.errno == errno.ELOOP:
                    continue
                raise
            try:
                if os.fstat(fd).st_ino == inode:
                    _set(fd, attributes)
            finally:
                os.close(fd)

    def _remember(self, path: bytes, fd: int) -> int:
        if len(self._fds) >= _CACHE_SIZE:
            oldest = next(iter(self._fds))
            os.close(self._fds.pop(oldest))
        self._fds[path] = fd
        return fd

    def _open(self, path: bytes) -> int:
        return openat2(self._root_fd, path, _OPEN_DIRECTORY, _RESOLVE)

    def _open_or_make(self, path: bytes) -> int:
        try:
            return self._open(path)
        except (FileNotFoundError, NotADirectoryError):
            self._make_missing(path)
            return self._open(path)

    def _make_missing(self, path: bytes) -> None:
        """Create each component of `path` that is not there. A whiteout gives way: the name exists in this layer."""
        parent_fd = self._root_fd
        parts = path.split(b"/")
        for count, base in enumerate(parts, 1):
            prefix = b"/".join(parts[:count])
            fd = self._fds.get(prefix)
            if fd is None:
                fd = self._remember(prefix, self._open_or_make_one(prefix, parent_fd, base))
            parent_fd = fd

    def _open_or_make_one(self, path: bytes, parent_fd: int, base: bytes) -> int:
        try:
            return self._open(path)
        except FileNotFoundError:
            if _lexists(parent_fd, base):
                raise NotADirectoryError(errno.ENOTDIR, "a parent of it is a dangling link") from None
            self.make(path, parent_fd, base, opaque=False)
        except NotADirectoryError:
            if not is_whiteout(parent_fd, base):
                raise
            os.unlink(base, dir_fd=parent_fd)
            self.made -= 1  # the whiteout's inode, which somebody counted, is the directory's now
            self.make(path, parent_fd, base, opaque=True)
        return self._open(path)


def is_whiteout(parent_fd: int, base: bytes) -> bool:
    """True when `base` is overlayfs's mark of a deleted name: a character device 0/0."""
    status = os.stat(base, dir_fd=parent_fd, follow_symlinks=False)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _lexists(parent_fd: int, base: bytes) -> bool:
    try:
        os.stat(base, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _set(fd: int, attributes: _Attributes) -> None:
    if (attributes.uid, attributes.gid) != (os.geteuid(), os.getegid()):
        os.fchown(fd, attributes.uid, attributes.gid)
    os.fchmod(fd, attributes.mode)
    if attributes.xattrs:
        xattrs.set_all(fd, attributes.path, attributes.xattrs)
    if attributes.mtime_ns >= 0:
        os.utime(fd, ns=(attributes.mtime_ns, attributes.mtime_ns))
