"""Events on the disk, so that those who ask later miss none: also after the daemon was restarted or killed.

Two files of at most a mebibyte, the older one replaced when the newer is full. An event is one line, written with one write(2) and
not synced: a power cut may cost the last ones (as it costs those of the system's log). A line that was cut short is skipped.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from barque.spi.frontend import Event

__all__ = ["Journal"]

_log = logging.getLogger(__name__)
_MAX_FILE = 1 << 20
_TAIL = 256 << 10  # more than the longest event: labels are what a request's body may hold, and few have many
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Journal:
    """The files `current` and `previous` in a directory. Nothing is opened before the first call. Not thread-safe, but for `read`."""

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

    def snapshot(self) -> Sequence[tuple[int, int]]:
        """What is there now, for `read`: descriptors, and how many bytes of each count."""
        found = []
        for path in (self._previous, self._current):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            found.append((fd, os.fstat(fd).st_size))
        return found

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @staticmethod
    def read(snapshot: Sequence[tuple[int, int]], since_ns: int) -> Iterator[Event]:
        """Events from `since_ns` on, one after the other in memory. Closes the snapshot."""
        files = [os.fdopen(fd, "rb") for fd, _ in snapshot]
        try:
            for file, (_, size) in zip(files, snapshot, strict=True):
                left = size
                while left > 0 and (line := file.readline(left)):
                    left -= len(line)
                    if _time(line) >= since_ns and (event := _event(line)) is not None:
                        yield event
        finally:
            for file in files:
                file.close()

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
