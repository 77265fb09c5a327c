"""A place in a compressed log file: it is read forwards only, so what is before a place is decompressed again."""

from __future__ import annotations

import gzip
import os
import zlib

from barque_log_jsonfile.cursor import BLOCK, MAX_LINE
from barque_log_jsonfile.paths import OpenFile

__all__ = ["PackedCursor"]


class PackedCursor:
    """As `Cursor`, of a rotated file, which is not written any more. What is damaged is where it ends."""

    __slots__ = ("_rest", "_stream", "fd", "file", "offset")

    def __init__(self, opened: OpenFile) -> None:
        self.fd = opened.fd
        self.file = opened.file
        raw = os.fdopen(opened.fd, "rb", buffering=0, closefd=False)
        self._stream = gzip.GzipFile(fileobj=raw, mode="rb")
        self.seek(0)

    def close(self) -> None:
        """Close the file. Once only."""
        self._stream.close()
        os.close(self.fd)

    def seek(self, offset: int) -> None:
        """Go to an offset in the text, the beginning of a line."""
        self._stream.seek(offset)
        self.offset = offset
        self._rest = b""

    def stop_at_present_end(self) -> None:
        """It is at its end already."""

    def read_lines(self) -> bytes:
        """The next whole lines, empty at the end."""
        while True:
            cut = self._rest.rfind(b"\n") + 1
            if cut:
                lines, self._rest = self._rest[:cut], self._rest[cut:]
                self.offset += cut
                return lines
            if len(self._rest) > MAX_LINE:
                self.offset += len(self._rest)  # not a line of ours; its end will not decode either
                self._rest = b""
            block = self._block()
            if not block:
                return b""
            self._rest += block

    def _block(self) -> bytes:
        try:
            return self._stream.read(BLOCK)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return b""
