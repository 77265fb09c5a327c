"""The namespaces of running containers, by init's pid and start time: a pid alone may be somebody else's by now (row R7)."""

from __future__ import annotations

import os
import time

from barque.engine.processes import start_time
from barque.engine.records import ContainerRecord
from barque.spi.errors import Conflict

__all__ = ["mount_namespace"]

_PATIENCE = 2.0
_PAUSE = 0.02


def mount_namespace(record: ContainerRecord) -> int | None:
    """A descriptor of the mount namespace of a running container's init; None when it has ended. Errors: Conflict (it hangs while it ends)."""
    deadline = time.monotonic() + _PATIENCE
    while record.running:
        fd = _open(record.stored.state.pid, record.stored.starttime)
        if fd is not None:
            return fd
        if time.monotonic() > deadline:
            raise Conflict(f"container {record.id} is ending", hint="try again in a moment")
        time.sleep(_PAUSE)
    return None


def _open(pid: int, starttime: int) -> int | None:
    """None when init is not that process any more. The start time is read again once the descriptor holds the namespace."""
    if pid <= 1 or start_time(pid) != starttime:
        return None
    try:
        fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if start_time(pid) == starttime:
        return fd
    os.close(fd)
    return None
