"""All frames of zstd data, and nothing that was cut off: libzstd's own reader takes the end of its input for the end of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import zstandard

from barque.spi.errors import InvalidArgument

__all__ = ["decompressed"]

_MAX_WINDOW = 1 << 27  # what libzstd itself accepts without being asked
_SLICE = 1024


def decompressed(read: Callable[[], bytes], piece: int) -> Iterator[bytes]:
    """What is in the data that `read` gives until it is empty, at most `piece` bytes at a time; skippable frames (zstd:chunked has
    them) hold nothing. Fed in small slices: one becomes at most 32 MiB, and mostly some KiB. Errors: InvalidArgument (damaged, cut off)."""
    rest = memoryview(read())
    while rest:
        frame = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()
        while not frame.eof:
            rest = rest or memoryview(read())
            if not rest:
                raise InvalidArgument("cut off: unexpected end of the zstd data")
            try:
                data = frame.decompress(rest[:_SLICE])
            except zstandard.ZstdError as error:
                raise InvalidArgument(f"damaged zstd data: {error}") from None
            rest = rest[_SLICE:]
            yield from (data[start : start + piece] for start in range(0, len(data), piece))
        rest = memoryview(frame.unused_data + bytes(rest) or read())
