"""Warm slots: sandboxes made before anybody asks, each with its interface, address and routes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from barque_net_bridge.background import Background
from barque_net_bridge.ipam import Address
from barque_net_bridge.sandbox import Plan

__all__ = ["Slot", "WarmSlots"]

_QUIET = 0.03  # seconds after a start before refilling: the start itself needs the processors now
_IDLE = 30.0  # seconds without a start until the stock shrinks to what is configured


@dataclass(frozen=True, slots=True)
class Slot:
    """A prepared sandbox: its descriptor, its interface as planned, and who holds its address meanwhile."""

    netns: int
    owner: str
    address: Address
    plan: Plan


class WarmSlots:
    """A stock of slots of one network. Filled in the background from the first `take` on. Thread-safe.

    `minimum` are kept; under load the stock doubles up to `maximum` and shrinks again when it is quiet.
    """

    def __init__(
        self,
        make: Callable[[], Slot],
        drop: Callable[[Slot], None],
        background: Background,
        minimum: int,
        maximum: int,
    ) -> None:
        self._make = make
        self._drop = drop
        self._background = background
        self._minimum = minimum
        self._maximum = max(minimum, maximum)
        self._target = minimum
        self._lock = threading.Lock()
        self._stock: deque[Slot] = deque()
        self._refilling = False
        self._shrinking = False
        self._closed = False
        self._last_take = 0.0

    def __len__(self) -> int:
        return len(self._stock)

    def take(self) -> Slot | None:
        """A slot, which is now the caller's, or None when there is none ready."""
        with self._lock:
            slot = self._stock.popleft() if self._stock else None
            first = self._last_take == 0.0
            self._last_take = time.monotonic()
            if slot is None and not first:
                self._target = min(self._maximum, self._target * 2)
            if not self._refilling and self._target > 0 and not self._closed:
                self._refilling = True
                self._background.after(0 if len(self._stock) * 2 < self._target else _QUIET, self._refill)
        return slot

    def evict(self, address: Address) -> bool:
        """Drop the slot that has this address; tell whether there was one."""
        with self._lock:
            slot = next((slot for slot in self._stock if slot.address == address), None)
            if slot is not None:
                self._stock.remove(slot)
        if slot is not None:
            self._drop(slot)
        return slot is not None

    def close(self) -> None:
        """Drop all slots and make no more. Idempotent."""
        with self._lock:
            self._closed = True
            stock = list(self._stock)
            self._stock.clear()
        for slot in stock:
            self._drop(slot)

    def _refill(self) -> None:
        try:
            while self._wanted():
                self._add(self._make())
        finally:
            with self._lock:
                self._refilling = False
        self._watch_for_quiet()

    def _wanted(self) -> bool:
        with self._lock:
            return not self._closed and len(self._stock) < self._target

    def _add(self, slot: Slot) -> None:
        with self._lock:
            if not self._closed:
                self._stock.append(slot)
                return
        self._drop(slot)

    def _watch_for_quiet(self) -> None:
        with self._lock:
            if not self._shrinking and self._target > self._minimum:
                self._shrinking = True
                self._background.after(_IDLE, self._shrink)

    def _shrink(self) -> None:
        surplus: list[Slot] = []
        with self._lock:
            self._shrinking = False
            if time.monotonic() - self._last_take >= _IDLE:
                self._target = self._minimum
                surplus = [self._stock.popleft() for _ in range(len(self._stock) - self._minimum)]
        for slot in surplus:
            self._drop(slot)
        self._watch_for_quiet()
