"""The file behind a writer: whole lines are appended, rotation keeps it within its bound, a failure leaves no torn line."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from barque_log_jsonfile.options import Limits
from barque_log_jsonfile.paths import LogPaths

__all__ = ["RotatingFile"]

_BACKWARDS = 64 * 1024


class RotatingFile:
    """Appends to a log's current file and rotates it. Not thread-safe: the shim has one thread."""

    def __init__(self, paths: LogPaths, limits: Limits) -> None:
        self._paths = paths
        self._limits = limits
        self._closed = False
        self._open()

    def append(self, lines: bytes) -> None:
        """Append whole lines, in one write(2) unless a rotation falls into them.

        On OSError a prefix of whole lines was kept; the next call tries again.
        """
        if self._closed:
            raise OSError(errno.EBADF, "the log is closed")
        limit = self._limits.max_size
        while lines:
            if self._fd < 0:
                self._open()
            if not limit or self._size + len(lines) <= limit:
                self._write(lines)
                return
            cut = lines.rfind(b"\n", 0, max(0, limit - self._size)) + 1
            if not cut and not self._size:
                cut = lines.index(b"\n") + 1  # one line larger than a whole file
            if cut:
                self._write(lines[:cut])
                lines = lines[cut:]
            if lines:
                self._rotate()

    def close(self) -> None:
        """Close. Idempotent."""
        self._closed = True
        self._close_file()

    def _open(self) -> None:
        self._fd = self._paths.open_for_append()
        self._size = _cut_torn_line(self._fd)

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _rotate(self) -> None:
        """The file is closed first: when the new one cannot be opened, the next `append` tries that again."""
        if not self._limits.compress:
            self._paths.rotate()
            self._close_file()
            return
        from barque_log_jsonfile.compressing import compress_behind, renaming

        with renaming(self._paths):
            self._paths.rotate()
        self._close_file()
        with suppress(OSError):  # there can be no process now: the next rotation has it done
            compress_behind(self._paths)

    def _write(self, lines: bytes) -> None:
        written = 0
        try:
            written = os.write(self._fd, lines)
            while written < len(lines):
                written += os.write(self._fd, memoryview(lines)[written:])
        except OSError:
            self._size += self._keep_whole_lines(lines, written)
            raise
        self._size += written

    def _keep_whole_lines(self, lines: bytes, written: int) -> int:
        """Cut off what was written of a line that did not get through; the bytes that stay.

        Counted from the end of the file, not from `self._size`: the user may have emptied the file meanwhile.
        """
        whole = lines.rfind(b"\n", 0, written) + 1
        if whole < written:
            end = os.fstat(self._fd).st_size
            os.ftruncate(self._fd, max(0, end - (written - whole)))
        return whole


def _cut_torn_line(fd: int) -> int:
    """Drop the bytes behind the last newline (a writer that was killed in write(2)); the size that remains.

    Cutting needs no space, so it works on a full disk; and readers take whole lines only, so none has seen them.
    """
    end = size = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _BACKWARDS)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end != size:
        os.ftruncate(fd, end)
    return end
