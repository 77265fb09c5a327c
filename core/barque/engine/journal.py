"""Events on the disk, so that those who ask later miss none: also after the daemon was restarted or killed.

Two files of at most a mebibyte, the older one replaced when the newer is full. An event is one line, written with one write(2) and
not synced: a power cut may cost the last ones (as it costs those of the system's log). A line that was cut short is skipped.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from barque.spi.frontend import Event

__all__ = ["History", "Journal"]

_log = logging.getLogger(__name__)
_MAX_FILE = 1 << 20
_TAIL = 256 << 10  # more than the longest event: labels are what a request's body may hold, and few have many
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Journal:
    """The files `current` and `previous` in a directory. Nothing is opened before the first call. Not thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._current = directory / "current"
        self._previous = directory / "previous"
        self._fd = -1
        self._size = 0
        self._failing = False

    def last_ns(self) -> int:
        """The time of the last event, 0 if there is none."""
        for path in (self._current, self._previous):
            times = [_time(line) for line in _tail(path)]
            if any(times):
                return max(times)
        return 0

    def append(self, event: Event) -> None:
        """Write one. A full disk costs events, never the operation they tell of."""
        line = _line(event)
        try:
            self._open()
            if self._size and self._size + len(line) > _MAX_FILE:
                self._rotate()
            self._size += os.write(self._fd, line)
            self._failing = False
        except OSError as error:
            if not self._failing:
                _log.warning("events are not kept: %s", error)
            self._failing = True

    def since(self, since_ns: int) -> History:
        """What there is now, from `since_ns` on; what is appended later is not in it. May be read without the writer's lock."""
        files = []
        for path in (self._previous, self._current):
            with contextlib.suppress(FileNotFoundError):
                file = path.open("rb")
                files.append((file, os.fstat(file.fileno()).st_size))
        return History(files, since_ns)

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        if self._fd >= 0:
            return
        self._current.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self._current, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._size += os.write(
                self._fd, b"\n"
            )  # the last line was cut: it must not take the next one with it

    def _rotate(self) -> None:
        os.rename(self._current, self._previous)
        self.close()
        self._open()


class History:
    """Events of the past, one after the other in memory. Close it; it closes itself at its end."""

    def __init__(self, files: Sequence[tuple[BinaryIO, int]], since_ns: int) -> None:
        self._files = [file for file, _ in files]
        self._events = self._read(files, since_ns)

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = next(self._events, None)
        if event is None:
            self.close()
            raise StopIteration
        return event

    def close(self) -> None:
        """Idempotent."""
        self._events = iter(())
        while self._files:
            self._files.pop().close()

    @staticmethod
    def _read(files: Sequence[tuple[BinaryIO, int]], since_ns: int) -> Iterator[Event]:
        for file, left in files:
            while left > 0 and (line := file.readline(left)):
                left -= len(line)
                if _time(line) >= since_ns and (event := _event(line)) is not None:
                    yield event


def _line(event: Event) -> bytes:
    document = [event.time_ns, event.type, event.action, event.actor_id, dict(event.attributes)]
    return _encode(document).encode() + b"\n"


def _time(line: bytes) -> int:
    """Of a line, without reading all of it; -1 for what is no event."""
    digits = line[1 : line.find(b",")] if line.startswith(b"[") and line.endswith(b"]\n") else b""
    return int(digits) if digits.isdigit() and len(digits) < 20 else -1


def _event(line: bytes) -> Event | None:
    try:
        time_ns, type, action, actor_id, attributes = json.loads(line)
        return Event(str(type), str(action), str(actor_id), dict(attributes), int(time_ns))
    except (ValueError, TypeError):  # cut short, or of another release
        return None


def _tail(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            return file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return []
