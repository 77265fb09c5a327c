"""All frames of zstd data, and nothing that was cut off.

libzstd's streaming reader takes the end of its input for the end of the data, wherever that is. So what it is fed is
followed from block to block beside it (RFC 8878, section 3.1): the data must end where a frame ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, cast

import zstandard

from barque.spi.errors import InvalidArgument

__all__ = ["decompressed"]

_MAX_WINDOW = 1 << 27  # what libzstd itself accepts without being asked
_MAGIC = 0xFD2FB528
_SKIPPABLE = 0x184D2A50
_DICTIONARY_ID = (0, 1, 2, 4)  # bytes, by the descriptor's lowest two bits
_CONTENT_SIZE = (0, 2, 4, 8)  # bytes, by its highest two; the first is 1 in a single segment
_RLE = 1


def decompressed(read: Callable[[], bytes], piece: int) -> Iterator[bytes]:
    """What is in the data that `read` gives until it is empty, at most `piece` bytes at a time and never more in memory than that
    and a window; skippable frames (zstd:chunked has them) hold nothing. Errors: InvalidArgument (damaged, cut off)."""
    source = _Source(read)
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    with decompressor.stream_reader(
        cast("IO[bytes]", source), read_across_frames=True, closefd=False
    ) as reader:
        while True:
            try:
                data = reader.read(piece)
            except zstandard.ZstdError as error:
                raise InvalidArgument(f"damaged zstd data: {error}") from None
            if not data:
                break
            yield data
    if not source.whole:
        raise InvalidArgument("cut off: unexpected end of the zstd data")


class _Source:
    """Gives a decompressor its input, and follows frames and blocks in it."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._skip = 0
        self._part = b""
        self._wanted = 4
        self._parse: Callable[[int], None] = self._begin
        self._checksum = 0

    @property
    def whole(self) -> bool:
        """Whether what was read so far ends with a frame."""
        return not self._skip and not self._part and self._parse == self._begin

    def read(self, _size: int = -1) -> bytes:
        """The next input, of any size."""
        data = self._read()
        position = 0
        while position < len(data):
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
            else:
                step = min(self._wanted - len(self._part), len(data) - position)
                self._part += data[position : position + step]
                if len(self._part) == self._wanted:
                    value, self._part = int.from_bytes(self._part, "little"), b""
                    self._parse(value)
            position += step
        return data

    def _begin(self, magic: int) -> None:
        if magic == _MAGIC:
            self._wanted, self._parse = 1, self._descriptor
        elif magic & ~0xF == _SKIPPABLE:
            self._wanted, self._parse = 4, self._skippable
        else:
            raise InvalidArgument("damaged zstd data: no frame begins where the one before ends")

    def _skippable(self, size: int) -> None:
        self._skip, self._wanted, self._parse = size, 4, self._begin

    def _descriptor(self, flags: int) -> None:
        single = flags >> 5 & 1
        self._checksum = 4 * (flags >> 2 & 1)
        self._skip = (1 - single) + _DICTIONARY_ID[flags & 3] + (_CONTENT_SIZE[flags >> 6] or single)
        self._wanted, self._parse = 3, self._block

    def _block(self, header: int) -> None:
        self._skip = 1 if header >> 1 & 3 == _RLE else header >> 3
        if header & 1:  # the last one
            self._skip += self._checksum
            self._wanted, self._parse = 4, self._begin
