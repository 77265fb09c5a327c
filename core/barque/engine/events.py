"""The event bus: what happened, in order, for subscribers now and for those who ask a little later."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping

from barque.spi.frontend import Event

__all__ = ["EventBus", "Subscription"]

_KEPT = 1024


class EventBus:
    """Publishes events and keeps the last 1024. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._events: deque[tuple[int, Event]] = deque(maxlen=_KEPT)
        self._number = 0
        self._last_ns = 0

    def publish(self, type: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        """Tell everybody. Times are strictly increasing, so that `since` neither loses nor repeats."""
        with self._condition:
            self._last_ns = max(time.time_ns(), self._last_ns + 1)
            self._number += 1
            self._events.append(
                (self._number, Event(type, action, actor_id, dict(attributes), self._last_ns))
            )
            self._condition.notify_all()

    def subscribe(self, since_ns: int | None, until_ns: int | None) -> Subscription:
        """Events from `since_ns` on (None: from now), until `until_ns`."""
        with self._condition:
            position = self._number
            if since_ns is not None:
                position = next((n - 1 for n, e in self._events if e.time_ns >= since_ns), self._number)
            return Subscription(self, position, until_ns)

    def after(self, position: int, timeout: float) -> tuple[int, Event] | None:
        """The first event with a number above `position`, waiting at most `timeout` s."""
        with self._condition:
            if self._number <= position:
                self._condition.wait_for(lambda: self._number > position, timeout)
            if self._number <= position or not self._events:
                return None
            first = self._events[0][0]
            return self._events[max(0, position + 1 - first)]


class Subscription:
    """An `EventStream`."""

    def __init__(self, bus: EventBus, position: int, until_ns: int | None) -> None:
        self._bus, self._position, self._until_ns = bus, position, until_ns
        self.ended = False

    def next(self, timeout: float) -> Event | None:
        """The next event, or None after `timeout` s; None for ever once `until` has passed."""
        if self.ended:
            return None
        if self._until_ns is not None:
            left = (self._until_ns - time.time_ns()) / 1e9
            timeout = max(0.0, min(timeout, left))
        found = self._bus.after(self._position, timeout)
        if found is None:
            self.ended = self._until_ns is not None and time.time_ns() >= self._until_ns
            return None
        self._position, event = found
        if self._until_ns is not None and event.time_ns > self._until_ns:
            self.ended = True
            return None
        return event

    def close(self) -> None:
        """End the subscription. Idempotent."""
        self.ended = True
