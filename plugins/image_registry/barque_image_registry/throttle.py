"""Bytes a second, shared by all transfers of a driver (a token bucket)."""

from __future__ import annotations

import threading
import time

from barque_image_registry.wire import Check

__all__ = ["Throttle"]

_SLICE = 0.2


class Throttle:
    """At most `rate` bytes a second in the long run; 0: no limit. Thread-safe.

    A transfer takes what it has moved already and then waits until the account is even again: whoever takes more waits longer.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._even_at = 0.0

    def take(self, count: int, check: Check) -> None:
        """Account for `count` bytes, and wait as long as that asks for. Raises what `check` raises."""
        if not self._rate:
            return
        with self._lock:
            self._even_at = max(self._even_at, time.monotonic()) + count / self._rate
            until = self._even_at
        while (left := until - time.monotonic()) > 0:
            check()
            time.sleep(min(left, _SLICE))
