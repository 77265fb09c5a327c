"""A place in one log file, always at the beginning of a line."""

from __future__ import annotations

import os

from barque_log_jsonfile.paths import OpenFile

__all__ = ["BLOCK", "MAX_LINE", "Cursor"]

BLOCK = 256 * 1024
MAX_LINE = 2 * 1024 * 1024  # a 16 KiB piece grows sixfold at most when escaped; the rest is for attributes


class Cursor:
    """Reads whole lines of an open file, which it owns, from `offset` on."""

    __slots__ = ("_end", "fd", "file", "offset")

    def __init__(self, opened: OpenFile) -> None:
        self.fd = opened.fd
        self.file = opened.file
        self.offset = 0
        self._end: int | None = None

    def close(self) -> None:
        """Close the file. Once only."""
        os.close(self.fd)

    def size(self) -> int:
        """The size of the file now."""
        return os.fstat(self.fd).st_size

    def stop_at_present_end(self) -> None:
        """Do not read what is written from now on, or a busy writer would never let the reader end."""
        self._end = self.size()

    def read_lines(self) -> bytes:
        """The next whole lines, empty at the end. A torn last line is left for the next call."""
        if self.offset > self.size():
            self.offset = 0  # somebody emptied the file
        want = BLOCK
        while True:
            data = os.pread(self.fd, self._room(want), self.offset)
            cut = data.rfind(b"\n") + 1
            if cut:
                self.offset += cut
                return data[:cut]
            if len(data) < want:
                return b""
            if want < MAX_LINE:
                want = MAX_LINE
            else:
                self.offset += len(data)  # not a line of ours: pass over it; its end will not decode either

    def _room(self, want: int) -> int:
        return want if self._end is None else max(0, min(want, self._end - self.offset))
