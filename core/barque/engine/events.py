"""The event bus: what happened, in order, for subscribers now and for those who ask later."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from barque.engine.journal import History, Journal
from barque.spi.frontend import Event

__all__ = ["EventBus", "Subscription"]

_KEPT = 256


class EventBus:
    """Publishes events, keeps the last 256 in memory and the last two mebibytes in a journal. Thread-safe.

    `directory` is the journal's; without one there is none, and `since` knows what is in memory."""

    def __init__(self, directory: Path | None = None) -> None:
        self._condition = threading.Condition()
        self._events: deque[Event] = deque(maxlen=_KEPT)
        self._number = 0
        self._journal = Journal(directory) if directory is not None else None
        self._last_ns = -1

    def publish(self, type: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        """Tell everybody. Times are strictly increasing, also over restarts and when the clock is set back, so that `since`
        neither loses nor repeats."""
        with self._condition:
            if self._last_ns < 0:
                self._last_ns = self._journal.last_ns() if self._journal is not None else 0
            self._last_ns = max(time.time_ns(), self._last_ns + 1)
            self._number += 1
            event = Event(type, action, actor_id, dict(attributes), self._last_ns)
            self._events.append(event)
            if self._journal is not None:
                self._journal.append(event)
            self._condition.notify_all()

    def subscribe(self, since_ns: int | None, until_ns: int | None) -> Subscription:
        """Events from `since_ns` on (None: from now), until `until_ns`."""
        with self._condition:
            position = self._number
        history, position = (iter(()), position) if since_ns is None else self.history(since_ns)
        return Subscription(self, history, position, until_ns)

    def history(self, since_ns: int) -> tuple[Iterator[Event], int]:
        """Everything kept from `since_ns` until now, and the number of the last one."""
        with self._condition:
            if self._journal is None:
                return iter([e for e in self._events if e.time_ns >= since_ns]), self._number
            if self._events and self._events[0].time_ns <= since_ns:  # all of it is in memory
                return iter([e for e in self._events if e.time_ns >= since_ns]), self._number
            return self._journal.since(since_ns), self._number

    def after(self, position: int, timeout: float) -> tuple[int, Event | None] | None:
        """The first event with a number above `position` and its number, waiting at most `timeout` s; (number, None) when it is
        no longer in memory, None when there is none."""
        with self._condition:
            if self._number <= position:
                self._condition.wait_for(lambda: self._number > position, timeout)
            if self._number <= position:
                return None
            index = position - (self._number - len(self._events))
            return (position + 1, self._events[index]) if index >= 0 else (position + 1, None)

    def close(self) -> None:
        """Close the journal. Idempotent; an event that comes later opens it again."""
        with self._condition:
            if self._journal is not None:
                self._journal.close()


class Subscription:
    """An `EventStream`."""

    def __init__(self, bus: EventBus, history: Iterator[Event], position: int, until_ns: int | None) -> None:
        self._bus, self._history, self._position, self._until_ns = bus, history, position, until_ns
        self._last_ns = 0
        self.ended = False

    def next(self, timeout: float) -> Event | None:
        """The next event, or None after `timeout` s; None for ever once `until` has passed."""
        if self.ended:
            return None
        if self._until_ns is not None:
            timeout = max(0.0, min(timeout, (self._until_ns - time.time_ns()) / 1e9))
        event = self._next(timeout)
        if event is None:
            self.ended = self._until_ns is not None and time.time_ns() >= self._until_ns
            return None
        if self._until_ns is not None and event.time_ns > self._until_ns:
            self.close()
            return None
        self._last_ns = event.time_ns
        return event

    def _next(self, timeout: float) -> Event | None:
        while True:
            event = next(self._history, None)
            if event is not None:
                return event
            found = self._bus.after(self._position, timeout)
            if found is None:
                return None
            if found[1] is not None:
                self._position = found[0]
                return found[1]
            # This subscriber is slow, and what it has not seen is in the journal only.
            self._history, self._position = self._bus.history(self._last_ns + 1)

    def close(self) -> None:
        """End the subscription. Idempotent."""
        self.ended = True
        if isinstance(self._history, History):
            self._history.close()
