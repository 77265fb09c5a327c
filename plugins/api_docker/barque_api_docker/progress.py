"""Progress of a long operation as dockerd's JSON lines."""

from __future__ import annotations

import threading
import time
from typing import Any

from barque.spi.common import Progress
from barque.spi.errors import BarqueError
from barque_api_docker.call import Call, Stream, told
from barque_api_docker.connection import Disconnected
from barque_api_docker.translate.text import human_size

__all__ = ["Report"]

_INTERVAL = 0.1
_BAR = 50


class Report:
    """Progress lines to the client; several threads of the engine may report at once. The head goes out with the first line."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._last: dict[str, tuple[str, float]] = {}
        self._left = False

    @property
    def started(self) -> bool:
        """True when the head is out: an error can no longer be an HTTP status."""
        return self._stream is not None

    def cancelled(self) -> bool:
        """True when the client left."""
        return self._left or self._call.gone()

    def progress(self, progress: Progress) -> None:
        """One line, unless it only counts bytes of a step that told of itself within the last tenth of a second."""
        now = time.monotonic()
        with self._lock:
            status, at = self._last.get(progress.id, ("", 0.0))
            counts = progress.current > 0 and not progress.current >= progress.total > 0
            if counts and status == progress.status and now - at < _INTERVAL:
                return
            self._last[progress.id] = (progress.status, now)
            self._send(_document(progress))

    def notice(self, progress: Progress) -> None:
        """For a client that wants no progress: what concerns the whole, and no layer, it is told all the same."""
        if not progress.id:
            self.progress(progress)

    def line(self, document: dict[str, Any]) -> None:
        """Send any line."""
        with self._lock:
            self._send(document)

    def fail(self, error: BarqueError) -> None:
        """Tell an error after the first line."""
        self.line({"errorDetail": {"message": told(error)}, "error": told(error)})

    def _send(self, document: dict[str, Any]) -> None:
        if self._left:
            return
        try:
            if self._stream is None:
                self._stream = self._call.stream("application/json")
            self._stream.write_json(document, b"\r\n")
        except Disconnected:
            self._left = True  # the engine asks `cancelled` and stops

    def close(self) -> None:
        """End the answer."""
        if self._stream is not None and not self._left:
            self._stream.close()


def _document(progress: Progress) -> dict[str, Any]:
    document: dict[str, Any] = {"status": progress.status}
    if progress.current or progress.total:
        detail = {"current": progress.current}
        if progress.total:
            detail["total"] = progress.total
        document["progressDetail"] = detail
        document["progress"] = _bar(progress.current, progress.total)
    elif progress.id:
        document["progressDetail"] = {}
    if progress.id:
        document["id"] = progress.id
    return document


def _bar(current: int, total: int) -> str:
    """`[====>    ]  1.2MB/3.4MB`, for clients that print it as it is."""
    numbers = f"{human_size(current):>8}"
    if total <= 0 or current > total:
        return numbers
    filled = min(_BAR, current * _BAR // total)
    return f"[{'=' * filled}>{' ' * max(0, _BAR - 1 - filled)}] {numbers}/{human_size(total)}"
