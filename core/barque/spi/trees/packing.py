"""Walks a tree, which may change meanwhile and be hostile, and writes it as a tar: sorted, by descriptors, following no link.

What vanishes on the way is left out, a file that shrinks is padded. Memory is bounded by the largest directories on
one path and the number of hard-linked files, that of descriptors is constant, however deep the tree is.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from barque.spi.errors import InvalidArgument
from barque.spi.trees import xattrs
from barque.spi.trees.descent import OPEN_DIRECTORY, Descent
from barque.spi.trees.header import show
from barque.spi.trees.tarwriter import TarWriter

__all__ = ["Left", "Packer", "is_empty"]

_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})
# No longer the regular file that was listed: a link, a FIFO, a device of a mount without devices.
_CHANGED = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EACCES})
_MAX_PATH = 65536


@dataclass(frozen=True, slots=True)
class Left:
    """What is no part of a layer, by the names of the tar. `empty`: an empty file or directory of these names. `known`: directories
    with their modes and owners, which have no entry unless that differs or something in them has one (the root, called "": unless
    that differs)."""

    empty: frozenset[bytes] = frozenset()
    known: Mapping[bytes, tuple[int, int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class _Level:
    """A directory on the way down. `names` are those that wait, the next one last."""

    prefix: bytes
    names: list[tuple[str, bool]]


class Packer:
    """Adds trees to one tar; files linked to one another are linked in the tar too.

    `overlay`: the tree is the upper directory of an overlayfs (mounted in a `user_namespace`, or not): character devices 0/0 and
    opaque directories become the whiteouts of the OCI image-spec, and files that are named like one are left out.
    """

    def __init__(
        self,
        writer: TarWriter,
        *,
        overlay: bool = False,
        user_namespace: bool = False,
        left: Left | None = None,
    ) -> None:
        self._writer = writer
        self._left = left or Left()
        self._overlay = overlay
        self._opaque = xattrs.opaque_attribute(user_namespace).decode()
        self._links: dict[tuple[int, ...], bytes] = {}
        self._descent = Descent()
        self._levels: list[_Level] = []

    def add(self, dir_fd: int, name: str, stored: bytes) -> None:
        """Add what is called `name` in the directory `dir_fd` (the directory itself when empty) as `stored`, with all below it.

        `stored` empty: what is in the directory, without an entry of its own. Errors: OSError (ENOENT: no such name),
        InvalidArgument (a path longer than 64 KiB).
        """
        with self._descent:
            self._levels.clear()
            if not name:
                self._begin(os.open(".", OPEN_DIRECTORY, dir_fd=dir_fd), stored)
            else:
                status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
                self._one(dir_fd, name, stat.S_ISREG(status.st_mode), stored)
            self._walk()

    def _walk(self) -> None:
        levels = self._levels
        while levels:
            level = levels[-1]
            if not level.names:
                levels.pop()
                if not self._descent.leave():
                    levels[-1].names.clear()
                continue
            name, regular = level.names.pop()
            stored = level.prefix + os.fsencode(name)
            if len(stored) > _MAX_PATH:
                raise InvalidArgument(f"{show(stored)}: its path is longer than {_MAX_PATH} bytes")
            try:
                self._one(self._descent.fd, name, regular, stored)
            except OSError as error:
                if error.errno not in _VANISHED:
                    raise

    def _one(self, dir_fd: int, name: str, regular: bool, stored: bytes) -> None:
        """Add one name of a directory; of a directory the entry, and the level that waits to be walked."""
        if not regular or not self._file(dir_fd, name, stored):
            status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            mode = status.st_mode
            if stat.S_ISDIR(mode):
                self._begin(os.open(name, OPEN_DIRECTORY, dir_fd=dir_fd), stored)
            elif stat.S_ISREG(mode):
                self._file(dir_fd, name, stored)
            elif self._overlay and stat.S_ISCHR(mode) and not status.st_rdev:
                parent, slash, base = stored.rpartition(b"/")
                self._writer.mark(b"%b%b.wh.%b" % (parent, slash, base))
            elif not self._linked(stored, status):
                self._node(dir_fd, name, stored, status)

    def _file(self, dir_fd: int, name: str, stored: bytes) -> bool:
        """Add a regular file; False when it is none any more."""
        try:
            fd = os.open(name, _OPEN_FILE, dir_fd=dir_fd)
        except OSError as error:
            if error.errno in _CHANGED and not stat.S_ISREG(_mode(dir_fd, name)):
                return False
            raise
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return False
            if not self._linked(stored, status):
                names = xattrs.listed(fd)
                self._writer.file(stored, fd, status, xattrs.read(fd, names) if names else None)
        finally:
            os.close(fd)
        return True

    def _node(self, dir_fd: int, name: str, stored: bytes, status: os.stat_result) -> None:
        if not stat.S_ISLNK(status.st_mode):
            self._writer.special(stored, status)
            return
        try:
            target = os.readlink(name, dir_fd=dir_fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return  # another file has taken its name
        self._writer.symlink(stored, os.fsencode(target), status)

    def _linked(self, stored: bytes, status: os.stat_result) -> bool:
        """Add a link when the file is in the tar already. One that changed since, or whose inode is another file's now, is no link."""
        if status.st_nlink < 2:
            return False
        identity = (
            status.st_dev,
            status.st_ino,
            status.st_mode,
            status.st_size,
            status.st_mtime_ns,
            status.st_uid,
        )
        first = self._links.setdefault(identity, stored)
        if first is stored or stat.S_ISSOCK(status.st_mode):
            return False
        self._writer.link(stored, first, status)
        return True

    def _begin(self, fd: int, stored: bytes) -> None:
        """Add the entry of the directory `fd`, which is ours from now on, and go down into it."""
        try:
            status = os.fstat(fd)
            names = xattrs.listed(fd)
            attributes = xattrs.read(fd, names) if names else None
            prefix = stored and stored.rstrip(b"/") + b"/"  # of the root, called `/`, it is that slash
            opaque = self._overlay and self._opaque in names and os.getxattr(fd, self._opaque) == b"y"
            level = _Level(prefix, self._listed(fd, prefix))
            if attributes or not self._is_left(stored, status, empty=not (level.names or opaque)):
                self._writer.directory(stored or b".", status, attributes)
            if opaque:
                self._writer.mark(prefix + b".wh..wh..opq")
        except BaseException:
            os.close(fd)
            raise
        self._descent.enter(fd, status)
        self._levels.append(level)

    def _is_left(self, stored: bytes, status: os.stat_result, *, empty: bool) -> bool:
        known = self._left.known.get(stored)
        if known is None:
            return not stored
        return known == (status.st_mode, status.st_uid, status.st_gid) and (empty or not stored)

    def _listed(self, fd: int, prefix: bytes) -> list[tuple[str, bool]]:
        """Names in the directory and whether they are regular files, the first one last."""
        with os.scandir(fd) as entries:
            names = [(entry.name, entry.is_file(follow_symlinks=False)) for entry in entries]
        if self._overlay:
            names = [name for name in names if not name[0].startswith(".wh.")]
        if self._left.empty:
            names = [name for name in names if not self._is_empty(fd, name[0], prefix + os.fsencode(name[0]))]
        names.sort(reverse=True)
        return names

    def _is_empty(self, fd: int, name: str, stored: bytes) -> bool:
        """Whether it is one of those that are left out when they are empty, and is."""
        return stored in self._left.empty and is_empty(fd, name)


def is_empty(dir_fd: int, name: str) -> bool:
    """Whether `name` is an empty regular file or directory. Errors: OSError, but for one that vanished."""
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            return stat.S_ISREG(status.st_mode) and not status.st_size
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=dir_fd)
    except OSError as error:
        if error.errno not in _VANISHED:
            raise
        return False
    try:
        return not os.listdir(fd)
    finally:
        os.close(fd)


def _mode(dir_fd: int, name: str) -> int:
    return os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
