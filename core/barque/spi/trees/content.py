"""Digests of files on the disk, holes included without being read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from barque.spi.trees.holes import next_data

__all__ = ["digest"]

_PIECE = 1 << 20


def digest(fd: int, size: int, segments: Sequence[tuple[int, int]] | None) -> bytes:
    """SHA-256 of the `size` bytes of `fd`; with `segments` (offset, length) of those only, and empty when anything between
    them is not zero. Errors: OSError."""
    sha256 = hashlib.sha256()
    position = 0
    for offset, length in [(0, size)] if segments is None else segments:
        if not _is_zero(fd, position, offset):
            return b""
        position = offset
        while position < offset + length and (
            data := os.pread(fd, min(_PIECE, offset + length - position), position)
        ):
            sha256.update(data)
            position += len(data)
    return sha256.digest() if segments is None or _is_zero(fd, position, size) else b""


def _is_zero(fd: int, position: int, end: int) -> bool:
    """Whether all bytes from `position` to `end` are zero."""
    while position < end:
        start, stop = next_data(fd, position, end)
        while start < stop and (data := os.pread(fd, min(_PIECE, stop - start), start)):
            if data.strip(b"\0"):
                return False
            start += len(data)
        position = stop
    return True
