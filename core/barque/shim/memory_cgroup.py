"""Has the kernel killed for memory in a container? Read from its memory cgroup, version 1 or 2."""

from __future__ import annotations

import os
from functools import cache

__all__ = ["MemoryCgroup", "events_file", "mount_points"]

_COUNTER = b"oom_kill "


class MemoryCgroup:
    """A memory cgroup, by the file `events` that counts (see `events_file`); empty: nothing is known."""

    def __init__(self, events: bytes) -> None:
        self._events = events
        self._seen = 0
        self._told = 0

    @property
    def counts_at_once(self) -> bool:
        """Version 2: the file itself tells of its changes."""
        return self._events.endswith(b"/memory.events")

    def has_news(self) -> bool:
        """Whether the kernel has killed there since this was asked last."""
        before, self._told = self._told, self.kills()
        return self._told > before

    def kills(self) -> int:
        """How many processes the kernel has killed there so far; 0 when nobody knows."""
        if not self._events:
            return 0
        try:
            fd = os.open(self._events, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return self._seen  # the cgroup is gone already
        try:
            content = os.read(fd, 4096)
        finally:
            os.close(fd)
        for line in content.splitlines():
            if line.startswith(_COUNTER):
                self._seen = int(line.removeprefix(_COUNTER))
        return self._seen


@cache
def mount_points() -> tuple[str | None, str | None]:
    """Where version 1's memory hierarchy and version 2 are mounted. Asked once, by the launcher for all shims."""
    version1 = version2 = None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mountinfo:
        for line in mountinfo:
            before, _, after = line.partition(" - ")
            kind, _, options = after.strip().split(" ", 2)
            place = before.split(" ")[4]
            if kind == "cgroup" and "memory" in options.split(","):
                version1 = version1 or place
            elif kind == "cgroup2":
                version2 = version2 or place
    return version1, version2


def events_file(pid: int) -> str:
    """The file of the cgroup `pid` is in; empty when there is none. By the process, so any runtime's naming will do."""
    version1, version2 = mount_points()
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as membership:
            lines = [line.rstrip("\n").split(":", 2) for line in membership]
    except OSError:
        return ""
    paths = {controllers: path for _, controllers, path in lines}
    for controllers, path in paths.items():
        if version1 and "memory" in controllers.split(","):
            return f"{version1}{path}/memory.oom_control"
    if version2 and "" in paths:
        return f"{version2}{paths['']}/memory.events"
    return ""
