"""Filling a file that was just made with what a tar has of it: data, dense or sparse, then owner, mode, attributes, time."""

from __future__ import annotations

import os

from barque.spi.trees import xattrs
from barque.spi.trees.header import Entry
from barque.spi.trees.reader import TarReader

__all__ = ["describe", "write_all", "write_sparse"]


def write_all(fd: int, data: bytes | memoryview) -> int:
    """Write all of `data`; write(2) may take less, and says why when it is called for the rest. Its size. Errors: OSError."""
    size = len(data)
    written = os.write(fd, data)
    while written < size:
        written += os.write(fd, memoryview(data)[written:])
    return size


def write_sparse(fd: int, entry: Entry, reader: TarReader) -> None:
    """Write the entry's segments, with holes between them. Errors: OSError, what reading the tar raises."""
    payload = reader.payload()
    rest: bytes | memoryview = b""
    for offset, length in entry.segments or ():
        os.lseek(fd, offset, os.SEEK_SET)
        while length:
            piece = rest or next(payload)
            rest = piece[length:]
            length -= write_all(fd, piece[:length])
    os.ftruncate(fd, entry.real_size)


def describe(fd: int, entry: Entry, user: int, group: int) -> None:
    """Give a file with its data all the rest; `user` and `group` are whose it is by having been made. Errors: OSError."""
    if entry.uid != user or entry.gid != group:
        os.fchown(fd, entry.uid, entry.gid)
    if entry.mode > 0o777:
        os.fchmod(fd, entry.mode)  # after the data and the owner: both clear setuid
    if entry.xattrs:
        xattrs.set_all(fd, entry.name, entry.xattrs)
    os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
