"""Tells at once when the kernel has killed for memory in a running container whose memory is limited.

Version 1: an eventfd is notified when the cgroup is out of memory, a moment before the kernel kills (cgroup-v1/memory.rst, section 10).
Version 2: `memory.events` becomes ready for POLLPRI when a counter in it changes (cgroup-v2.rst).
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping
from typing import Any

from barque.shim.loop import Loop
from barque.shim.memory_cgroup import MemoryCgroup

__all__ = ["MemoryWatch", "is_limited", "open_watch"]

_LOOKS = (0.01, 0.05, 0.2, 1.0)
"""Seconds after a notification when the counter is looked at again: version 1 notifies first and counts afterwards."""


def is_limited(spec: Mapping[str, Any]) -> bool:
    """Whether the OCI config limits memory."""
    memory = ((spec.get("linux") or {}).get("resources") or {}).get("memory") or {}
    return (memory.get("limit") or 0) > 0


def open_watch(events: str) -> list[int]:
    """A descriptor for `MemoryWatch` on the file `events` of a memory cgroup (see `events_file`); none where the kernel gives none:
    then it is the exit that tells."""
    if not events:
        return []
    try:
        return [_counter(events) if events.endswith("/memory.events") else _notifier(events)]
    except OSError:
        return []


def _counter(events: str) -> int:
    fd = os.open(events, os.O_RDONLY | os.O_CLOEXEC)
    os.read(fd, 4096)  # what changes from now on is news
    return fd


def _notifier(events: str) -> int:
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        watched = os.open(events, os.O_RDONLY | os.O_CLOEXEC)
        try:
            control = os.open(f"{os.path.dirname(events)}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(control, f"{fd} {watched}".encode())
            finally:
                os.close(control)
        finally:
            os.close(watched)
    except OSError:
        os.close(fd)
        raise
    return fd


class MemoryWatch:
    """Calls `killed` after each notification on `fd` that the counter of `cgroup` bears out."""

    def __init__(self, loop: Loop, cgroup: MemoryCgroup, fd: int, killed: Callable[[], None]) -> None:
        self._loop, self._cgroup, self._fd, self._killed = loop, cgroup, fd, killed
        self._closed = False
        loop.watch(fd, select.EPOLLPRI if cgroup.counts_at_once else select.EPOLLIN, self._notified)

    def close(self) -> None:
        """Before the cgroup goes. Idempotent."""
        if not self._closed:
            self._closed = True
            self._loop.forget(self._fd)
            os.close(self._fd)

    def _notified(self, _: int) -> None:
        if self._cgroup.counts_at_once:
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.read(self._fd, 4096)
        else:
            os.eventfd_read(self._fd)
        self._look(0)

    def _look(self, number: int) -> None:
        if self._closed:
            return
        if self._cgroup.has_news():
            self._killed()
        elif number < len(_LOOKS):
            self._loop.later(_LOOKS[number], lambda: self._look(number + 1))
