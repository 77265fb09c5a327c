"""The writer that the shim holds: joins lines over chunks, frames and appends them, begins new files."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping

from barque_log_local.compressing import compress_behind
from barque_log_local.files import LogFiles
from barque_log_local.frames import ATTRIBUTES, LARGEST, OVERHEAD, PIECE, STREAMS, encode, parse, whole_end
from barque_log_local.options import Limits

__all__ = ["LocalWriter"]


class LocalWriter:
    """The open log of one container (`barque.spi.log.LogWriter`).

    The beginning of a line whose newline has not come yet (less than 16 KiB) waits in memory.
    """

    def __init__(self, files: LogFiles, limits: Limits, attributes: Mapping[str, str]) -> None:
        self._files, self._limits = files, limits
        text = json.dumps(dict(attributes), separators=(",", ":")).encode("utf-8", "replace")
        self._attributes = encode(ATTRIBUTES, 0, text) if len(text) <= LARGEST else b""
        self._has_attributes = bool(attributes) and bool(self._attributes)
        self._pending = dict.fromkeys(STREAMS, b"")
        self._time_ns = 0
        self._fd = -1
        self._size = 0
        self._number = 0
        self._closed = False
        self._open((files.numbers() or [1])[-1])

    def write(self, stream: str, data: bytes, time_ns: int) -> None:
        """Append what is complete with `data`. Raises OSError as write(2) does; later calls work again."""
        if self._closed:
            raise OSError(errno.EBADF, "the log is closed")
        self._time_ns = time_ns
        data = self._pending[stream] + data
        cut = data.rfind(b"\n") + 1
        rest = len(data) - cut
        cut += rest - rest % PIECE
        self._pending[stream] = data[cut:]
        if cut:
            self._append(STREAMS[stream], time_ns, data[:cut])

    def unfinished(self, stream: str) -> bytes:
        """What waits for its newline."""
        return self._pending[stream]

    def close(self) -> None:
        """Write what waits for its newline, without one, and close. Idempotent, also after an OSError."""
        if self._closed:
            return
        self._closed = True
        try:
            for stream, rest in self._pending.items():
                if rest:
                    self._append(STREAMS[stream], self._time_ns, rest)
        finally:
            self._close_file()

    def _append(self, kind: int, time_ns: int, text: bytes) -> None:
        for part in self._parts(text):
            self._write(encode(kind, time_ns, part))

    def _parts(self, text: bytes) -> Iterator[bytes]:
        """Whole lines, each as much as the current file, which is changed meanwhile, and a frame have room for."""
        limit = self._limits.max_size
        while text:
            if self._fd < 0:
                self._open(self._number)
            room = min(LARGEST, limit - self._size - OVERHEAD) if limit else LARGEST
            cut = len(text) if len(text) <= room else _cut(text, room)
            if not cut and self._size > len(self._attributes):
                self._rotate()
                continue
            cut = cut or min(LARGEST, text.find(b"\n") + 1 or len(text))  # more than a file is meant to have
            yield text[:cut]
            text = text[cut:]

    def _open(self, number: int) -> None:
        self._fd = self._files.append(number)
        self._number = number
        self._size = _cut_torn_frame(self._fd)
        if self._has_attributes or self._size:
            self._write(self._attributes)

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _rotate(self) -> None:
        """Begin the next file; the oldest ones go. When it cannot be made, the next `write` tries that again."""
        self._close_file()
        numbers = self._files.numbers()
        self._number += 1
        for number in numbers[: max(0, len(numbers) + 1 - self._limits.max_files)]:
            self._files.drop(number)
        self._open(self._number)
        if self._limits.compress and self._limits.max_files > 1:
            compress_behind(self._files)

    def _write(self, frame: bytes) -> None:
        """Append a frame, or nothing of it."""
        written = 0
        try:
            written = os.write(self._fd, frame)
            while written < len(frame):
                written += os.write(self._fd, memoryview(frame)[written:])
        except OSError:
            if written:
                os.ftruncate(self._fd, max(0, os.fstat(self._fd).st_size - written))
            raise
        self._size += written


def _cut(text: bytes, room: int) -> int:
    """Where to cut so that lines, or pieces of the first one, stay whole; 0 when there is no room."""
    if room <= 0:
        return 0
    line = text.rfind(b"\n", 0, room) + 1
    if line:
        return line
    return room - room % PIECE if b"\n" not in text[:room] and room >= PIECE else 0


def _cut_torn_frame(fd: int) -> int:
    """Drop what a killed writer left of a frame; the size that remains. The usual whole end is seen at once."""
    size = os.fstat(fd).st_size
    want = min(size, LARGEST + OVERHEAD)
    if not size or whole_end(os.pread(fd, want, size - want)):
        return size
    end = 0
    while (block := os.pread(fd, 4 * LARGEST, end)) and (step := parse(block)[1]) > 0:
        end += step
    os.ftruncate(fd, end)
    return end
