"""What a snapshot has that the union of its layers has not, and the other way round, told to a tar writer in tar order.

Everything was copied when the snapshot was made: a file whose size, times, mode and owner are the layer's, and whose inode was not
touched since (ctime), is the same. One that was touched is compared to the last byte and attribute.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from barque.spi.storage import MOUNTPOINTS
from barque.spi.trees import xattrs
from barque.spi.trees.packing import Packer
from barque.spi.trees.tarwriter import TarWriter
from barque.spi.trees.union import (
    OPEN_DIRECTORY,
    Visible,
    close_all,
    closed_on_error,
    open_children,
    root_owner,
    visible,
)

__all__ = ["Differences"]

_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE})
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PIECE = 1 << 20
_PLAIN = (0o40755, 0, 0)
_MOUNT_PARENTS = frozenset(path.rpartition("/")[0] for path in MOUNTPOINTS) - {""}


class _Level:
    """A directory of the snapshot (`fd`) and of the layers (`lower`, top first; empty when none has it) on the way down. `left`: names,
    the next one last. `told`: it has an entry."""

    def __init__(self, path: str, fd: int, lower: list[int]) -> None:
        self.path, self.fd, self.lower = path, fd, lower
        self.told = False
        self.visible = visible(lower)
        self.left = sorted({*os.listdir(fd), *self.visible}, reverse=True)

    def close(self) -> None:
        close_all((self.fd, *self.lower))


class Differences:
    """Compares and tells `writer`. A directory in which something differs has an entry of its own before that."""

    def __init__(
        self, writer: TarWriter, prepared_ns: int, announce: Callable[[bool], object] = lambda _: None
    ) -> None:
        """`prepared_ns`: the ctime by which the snapshot was complete. `announce` is called before an entry, true when the layers
        have something of that name."""
        self._writer = writer
        self._announce = announce
        self._packer = Packer(writer, overlay=True)
        self._prepared_ns = prepared_ns
        self._levels: list[_Level] = []

    def run(self, snapshot_fd: int, lower: list[int]) -> None:
        """Compare the directory `snapshot_fd` with the union of `lower`, which is closed. Errors: OSError."""
        with closed_on_error(lower):
            fd = os.open(".", OPEN_DIRECTORY, dir_fd=snapshot_fd)
            made_with = root_owner(lower)
        self._enter("", fd, lower)
        status = os.fstat(fd)
        self._levels[0].told = True
        if _owned(status) != made_with:
            self._writer.directory(b".", status, xattrs.read(fd, xattrs.listed(fd)))
        try:
            while self._levels:
                level = self._levels[-1]
                if level.left:
                    self._name(level, level.left.pop())
                else:
                    self._levels.pop().close()
        finally:
            for level in self._levels:
                level.close()

    def _enter(self, path: str, fd: int, lower: list[int]) -> None:
        with closed_on_error([fd, *lower]):
            self._levels.append(_Level(path, fd, lower))

    def _name(self, level: _Level, name: str) -> None:
        if name.startswith(".wh."):
            return  # in a layer it would be something else
        below = level.visible.get(name)
        path = f"{level.path}{name}"
        try:
            status = os.stat(name, dir_fd=level.fd, follow_symlinks=False)
        except FileNotFoundError:
            if below is not None:
                self._tell_parents()
                self._writer.mark(os.fsencode(f"{level.path}.wh.{name}"))
            return
        try:
            if below is not None and below.is_directory and stat.S_ISDIR(status.st_mode):
                self._directory(level, name, path, below)
            elif below is None and path in _MOUNT_PARENTS and _owned(status) == _PLAIN:
                self._directory(level, name, path, None)
            elif below is None and path in MOUNTPOINTS and _empty(level.fd, name, status):
                return  # made by mounting
            elif below is None or not self._same(level, name, status, below):
                self._tell_parents()
                self._announce(below is not None)
                self._packer.add(level.fd, name, os.fsencode(path))
        except OSError as error:
            if error.errno not in _VANISHED:
                raise

    def _directory(self, level: _Level, name: str, path: str, below: Visible | None) -> None:
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=level.fd)
        with closed_on_error([fd]):
            lower = open_children(name, below) if below else []
        self._enter(f"{path}/", fd, lower)
        status = os.fstat(fd)
        if below is None:
            return
        if _owned(status) != _owned(below.status) or self._attributes_differ(status, fd, lower[0]):
            self._tell_parents()

    def _tell_parents(self) -> None:
        """Entries of the directories above, each once."""
        for level in self._levels:
            if not level.told:
                level.told = True
                status = os.fstat(level.fd)
                attributes = xattrs.read(level.fd, xattrs.listed(level.fd))
                self._announce(bool(level.lower))
                self._writer.directory(os.fsencode(level.path[:-1]), status, attributes)

    def _same(self, level: _Level, name: str, status: os.stat_result, below: Visible) -> bool:
        old = below.status
        if _owned(status) != _owned(old) or status.st_rdev != old.st_rdev:
            return False
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(name, dir_fd=level.fd) == os.readlink(name, dir_fd=below.fds[0])
        if not stat.S_ISREG(status.st_mode):
            return True
        if (status.st_size, status.st_mtime_ns) != (old.st_size, old.st_mtime_ns):
            return False
        if status.st_ctime_ns <= self._prepared_ns:
            return True
        return self._equal(level.fd, below.fds[0], name)

    def _equal(self, fd: int, lower_fd: int, name: str) -> bool:
        """Whether two regular files of one size have equal content and attributes."""
        ours = os.open(name, _READ, dir_fd=fd)
        try:
            theirs = os.open(name, _READ, dir_fd=lower_fd)
            try:
                return _attributes(ours) == _attributes(theirs) and _content_equal(ours, theirs)
            finally:
                os.close(theirs)
        finally:
            os.close(ours)

    def _attributes_differ(self, status: os.stat_result, fd: int, lower_fd: int) -> bool:
        return status.st_ctime_ns > self._prepared_ns and _attributes(fd) != _attributes(lower_fd)


def _empty(dir_fd: int, name: str, status: os.stat_result) -> bool:
    if not stat.S_ISDIR(status.st_mode):
        return stat.S_ISREG(status.st_mode) and not status.st_size
    fd = os.open(name, OPEN_DIRECTORY, dir_fd=dir_fd)
    try:
        return not os.listdir(fd)
    finally:
        os.close(fd)


def _owned(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid


def _attributes(fd: int) -> dict[bytes, bytes]:
    return xattrs.read(fd, xattrs.listed(fd))


def _content_equal(one: int, other: int) -> bool:
    if not stat.S_ISREG(os.fstat(one).st_mode):
        return False
    offset = 0
    while True:
        piece = os.pread(one, _PIECE, offset)
        if piece != os.pread(other, _PIECE, offset):
            return False
        if not piece:
            return True
        offset += len(piece)
