"""Writes a tar to a descriptor (a pipe, mostly) in large pieces: small files are gathered, large ones go by sendfile(2)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from barque.spi.trees.entries import END, TYPES, entry_header
from barque.spi.trees.header import BLOCK
from barque.spi.trees.holes import next_data

__all__ = ["TarWriter"]

_PIECE = 1 << 20
_SMALL = 256 << 10  # up to here a copy is cheaper than one more system call
_ZEROS = bytes(_PIECE)
_NO_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_FILE, _LINK, _SYMLINK, _CHAR, _BLOCK_DEVICE, _DIRECTORY, _FIFO = TYPES.values()


class TarWriter:
    """A tar on its way to `fd`. `entries` is how many it has so far. Errors: OSError (EPIPE: nobody reads)."""

    def __init__(self, fd: int) -> None:
        self.entries = 0
        self._fd = fd
        self._parts: list[bytes] = []
        self._gathered = 0

    def directory(
        self, name: bytes, status: os.stat_result, xattrs: Mapping[bytes, bytes] | None = None
    ) -> None:
        """A directory; `name` without the slash at its end, but for the root."""
        self._header(name.rstrip(b"/") + b"/", _DIRECTORY, status, xattrs=xattrs)

    def file(
        self, name: bytes, fd: int, status: os.stat_result, xattrs: Mapping[bytes, bytes] | None = None
    ) -> None:
        """A regular file with exactly the size in `status`: what `fd` lacks of it by now is zeros, what it has more is left out."""
        size = status.st_size
        self._header(name, _FILE, status, size=size, xattrs=xattrs)
        if size <= _SMALL:
            self._small(fd, size)
        elif status.st_blocks * 512 < size:
            self._sparse(fd, size)
        else:
            self._copy(fd, 0, size)
        self._zeros(-size % BLOCK)

    def link(self, name: bytes, target: bytes, status: os.stat_result) -> None:
        """A hard link to `target`, an earlier entry of this tar."""
        self._header(name, _LINK, status, link=target)

    def symlink(self, name: bytes, target: bytes, status: os.stat_result) -> None:
        """A symbolic link."""
        self._header(name, _SYMLINK, status, link=target)

    def special(self, name: bytes, status: os.stat_result) -> None:
        """A device or FIFO. A socket is left out: no tar can hold one."""
        mode = status.st_mode
        if stat.S_ISFIFO(mode):
            self._header(name, _FIFO, status)
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            self._header(name, _CHAR if stat.S_ISCHR(mode) else _BLOCK_DEVICE, status, device=device)

    def mark(self, name: bytes) -> None:
        """An empty file with nothing of anybody's in its header: whiteouts are such."""
        self.entries += 1
        self._put(entry_header(name, _FILE, 0, 0, 0, 0, 0))

    def finish(self) -> None:
        """Write the end of the tar and all that is gathered."""
        self._put(END)
        self.flush()

    def flush(self) -> None:
        """Write what is gathered."""
        if self._parts:
            data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts = []
            self._gathered = 0
            self._write(data)

    def _header(
        self,
        name: bytes,
        type: bytes,
        status: os.stat_result,
        *,
        size: int = 0,
        link: bytes = b"",
        device: tuple[int, int] = (0, 0),
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self.entries += 1
        self._put(
            entry_header(
                name,
                type,
                status.st_mode & 0o7777,
                status.st_uid,
                status.st_gid,
                size,
                status.st_mtime_ns,
                link=link,
                device=device,
                xattrs=xattrs,
            )
        )

    def _put(self, data: bytes) -> None:
        self._parts.append(data)
        self._gathered += len(data)
        if self._gathered >= _PIECE:
            self.flush()

    def _write(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        while written < len(data):
            written += os.write(self._fd, memoryview(data)[written:])

    def _small(self, fd: int, size: int) -> None:
        """Mostly one read(2): a regular file gives all that is asked for and there."""
        left = size
        while left and (data := os.read(fd, left)):
            self._put(data)
            left -= len(data)
        self._zeros(left)

    def _sparse(self, fd: int, size: int) -> None:
        """Holes become zeros without being read."""
        position = 0
        while position < size:
            start, end = next_data(fd, position, size)
            self._zeros(start - position)
            self._copy(fd, start, end - start)
            position = end

    def _copy(self, fd: int, offset: int, count: int) -> None:
        """`count` bytes of `fd` from `offset`; zeros for those behind its end."""
        self.flush()
        while count:
            try:
                sent = os.sendfile(self._fd, fd, offset, min(count, _PIECE))
            except OSError as error:
                if error.errno not in _NO_SENDFILE:
                    raise
                sent = self._copy_by_hand(fd, offset, count)
            if not sent:
                break
            offset += sent
            count -= sent
        self._zeros(count)

    def _copy_by_hand(self, fd: int, offset: int, count: int) -> int:
        """One piece, for a file system or a destination that cannot splice."""
        data = os.pread(fd, min(count, _PIECE), offset)
        self._write(data)
        return len(data)

    def _zeros(self, count: int) -> None:
        while count > _PIECE:
            self._put(_ZEROS)
            count -= _PIECE
        if count:
            self._put(_ZEROS[:count])
