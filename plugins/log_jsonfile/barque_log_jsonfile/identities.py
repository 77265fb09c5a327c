"""Which open file is which: by device and inode. A compressed one has noted, in its gzip header, those that it had before.

So who has a file open that was compressed meanwhile knows it again (RFC 1952, 2.3.1: FNAME).
"""

from __future__ import annotations

import os
import re

__all__ = ["FileIdentity", "identity", "note", "recorded"]

FileIdentity = tuple[int, int]

_HEADER = re.compile(rb"\x1f\x8b\x08\x08.{6}([0-9a-f]{1,16})-([0-9a-f]{1,16})\0", re.DOTALL)
_LONGEST = 10 + 16 + 1 + 16 + 1


def identity(fd: int) -> FileIdentity:
    """Device and inode of an open file, which no other file has while it is open."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def note(file: FileIdentity) -> str:
    """The name that the gzip header of a compressed file has."""
    return f"{file[0]:x}-{file[1]:x}"


def recorded(fd: int) -> FileIdentity | None:
    """What a compressed file was before; None for one that another program compressed."""
    match = _HEADER.match(os.pread(fd, _LONGEST, 0))
    return (int(match[1], 16), int(match[2], 16)) if match else None
