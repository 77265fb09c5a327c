"""Waiting for a container's cgroup to run out of memory, and for the container's end.

v1: an eventfd that is named to cgroup.event_control (cgroup-v1/memory.rst, "OOM Control"). v2: memory.events, which
poll(2) reports with POLLPRI when it changes (cgroup-v2.rst).
"""

from __future__ import annotations

import os
import select

from barque_runtime_native.cgroup.stats import table

CHANGED = select.POLLPRI | select.POLLERR


class OomWatch:
    """Tells when processes of a memory cgroup were killed for lack of memory; close it."""

    def __init__(self, directory: str, *, unified: bool) -> None:
        self.directory = directory
        self.unified = unified
        self.fd = -1
        self.kills = 0
        if unified:
            self._watch_unified()
        elif directory:
            self._watch_v1()

    def _watch_unified(self) -> None:
        try:
            self.fd = os.open(f"{self.directory}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # no memory controller here: no limit, and nothing to tell
        self.kills = self._counted()

    def _watch_v1(self) -> None:
        control = os.open(f"{self.directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.fd = os.eventfd(0, os.EFD_CLOEXEC)
            listener = os.open(f"{self.directory}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(listener, f"{self.fd} {control}".encode())
            finally:
                os.close(listener)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(control)

    def register(self, poll: select.poll) -> None:
        """Have `poll` wake up for it."""
        if self.fd >= 0:
            poll.register(self.fd, CHANGED if self.unified else select.POLLIN)

    def happened(self) -> bool:
        """Whether it has, since the last question. Call it when `poll` reports `fd`."""
        if not self.unified:
            os.read(self.fd, 8)
            # the removal of the cgroup is reported too
            return os.path.exists(f"{self.directory}/memory.oom_control")
        os.pread(self.fd, 4096, 0)
        before, self.kills = self.kills, self._counted()
        return self.kills > before

    def _counted(self) -> int:
        return table(self.directory, "memory.events").get("oom_kill", 0)

    def close(self) -> None:
        """Stop watching."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
