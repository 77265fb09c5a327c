"""The shim's event loop: epoll and timers."""

from __future__ import annotations

import heapq
import select
from collections.abc import Callable
from itertools import count
from time import monotonic

__all__ = ["Handler", "Loop"]

Handler = Callable[[int], None]
"""Called with the epoll events of its descriptor."""


class Loop:
    """Calls a handler when its descriptor is ready, an action when its time has come. Level-triggered.

    `report` is told of an exception a handler let through: it is a defect, which must cost one
    descriptor and not the container.
    """

    def __init__(self, report: Callable[[Exception], None]) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._masks: dict[int, int] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._report = report

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Call `handler` for `events` of `fd`; EPOLLHUP and EPOLLERR always count. Changes an earlier watch."""
        if fd not in self._handlers:
            self._epoll.register(fd, events)
        elif self._masks[fd] != events:
            self._epoll.modify(fd, events)
        self._handlers[fd] = handler
        self._masks[fd] = events

    def forget(self, fd: int) -> None:
        """Stop watching `fd`; to be called before it is closed. Idempotent."""
        if self._handlers.pop(fd, None) is not None:
            del self._masks[fd]
            self._epoll.unregister(fd)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` once, `seconds` from now."""
        heapq.heappush(self._timers, (monotonic() + seconds, next(self._order), action))

    def close(self) -> None:
        """Watch nothing any more."""
        self._epoll.close()
        self._handlers.clear()

    def run(self, finished: Callable[[], bool]) -> None:
        """Handle events until `finished()`, which is asked after every round."""
        while not finished():
            self._round()

    def _round(self) -> None:
        ready = self._epoll.poll(self._timeout(), 32)
        # A handler may close another descriptor of this round, and its number may be in use again at once.
        for fd, events, handler in [(fd, events, self._handlers[fd]) for fd, events in ready]:
            if self._handlers.get(fd) is handler:
                self._call(fd, events, handler)
        while self._timers and self._timers[0][0] <= monotonic():
            action = heapq.heappop(self._timers)[2]
            try:
                action()
            except Exception as error:  # noqa: BLE001 - reported; see the class
                self._report(error)

    def _call(self, fd: int, events: int, handler: Handler) -> None:
        try:
            handler(events)
        except Exception as error:  # noqa: BLE001 - reported; see the class
            self._report(error)
            if self._handlers.get(fd) is handler:
                self.forget(fd)

    def _timeout(self) -> float:
        if not self._timers:
            return -1
        return max(0.0, self._timers[0][0] - monotonic())
