"""Work that nobody waits for: one thread, started at the first use."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from barque.spi.errors import BarqueError

__all__ = ["Background"]

log = logging.getLogger(__name__)

Work = Callable[[], None]


class Background:
    """Runs each piece of work once, not before its time, one after another."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._wake = threading.Condition()
        self._queue: list[tuple[float, int, Work]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def after(self, delay: float, work: Work) -> None:
        """Do `work` in `delay` seconds. Ignored once closed."""
        with self._wake:
            if self._closed:
                return
            heapq.heappush(self._queue, (time.monotonic() + delay, next(self._order), work))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._wake.notify()

    def close(self) -> None:
        """Forget what is queued and wait for what runs. Idempotent."""
        with self._wake:
            self._closed = True
            self._queue.clear()
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except (BarqueError, OSError) as error:
                log.warning("%s: %s", self._name, error)

    def _next(self) -> Work | None:
        with self._wake:
            while not self._closed:
                wait = self._queue[0][0] - time.monotonic() if self._queue else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._queue)[2]
                self._wake.wait(wait)
        return None
