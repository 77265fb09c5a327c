"""The tar a client sends, from a pipe: plain, or compressed with gzip, bzip2, xz or zstd, told by its first bytes.

Decompressed by libraries in this process, piece by piece; no program is run for it, the container's least of all.
"""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from barque.spi.errors import InvalidArgument
from barque.spi.trees.zstd import decompressed

__all__ = ["pieces"]

_READ = 1 << 20
_PIECE = 1 << 20
_START = 6
_MAX_XZ_MEMORY = 256 << 20
_SKIPPABLE = tuple(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))


def pieces(fd: int) -> Iterator[bytes]:
    """The uncompressed content of the pipe `fd`, at most 1 MiB at a time. Errors: InvalidArgument (damaged data)."""
    source = _Source(fd)
    start = source.start
    if start.startswith(b"\x1f\x8b"):
        return _members(source, _Gzip, zlib.error, "gzip")
    if start.startswith(b"BZh"):
        return _members(source, bz2.BZ2Decompressor, OSError, "bzip2")
    if start.startswith(b"\xfd7zXZ\0"):
        return _members(source, _xz, lzma.LZMAError, "xz")
    if start.startswith((b"\x28\xb5\x2f\xfd", *_SKIPPABLE)):
        return decompressed(source.next, _PIECE)
    return iter(source.next, b"")


class _Source:
    """Pieces of a pipe, whose first bytes were looked at."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.start = os.read(fd, _READ)
        while len(self.start) < _START and (more := os.read(fd, _READ)):
            self.start += more
        self._pending = self.start

    def next(self) -> bytes:
        """The next bytes; empty at the end."""
        data, self._pending = self._pending, b""
        return data or os.read(self._fd, _READ)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's object with the manners of the other two."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY)


def _members(
    source: _Source, make: Callable[[], _Decompressor], failure: type[Exception], name: str
) -> Iterator[bytes]:
    """All members (streams) of the file, one behind the other; zeros behind the last one are padding."""
    rest = source.next()
    while rest:
        member = make()
        while not member.eof:
            ended = False
            if member.needs_input and not rest:
                rest = source.next()
                ended = not rest
            try:
                data = member.decompress(rest, _PIECE)
            except failure as error:
                raise InvalidArgument(f"the archive is damaged: {name}: {error}") from None
            rest = b""
            if data:
                yield data
            elif ended and not member.eof:
                raise InvalidArgument(f"the archive is cut off: unexpected end of its {name} data")
        rest = member.unused_data
        while not rest.lstrip(b"\0") and (more := source.next()):
            rest = more
        if not rest.lstrip(b"\0"):
            return
