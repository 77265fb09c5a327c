"""Processes by pid and start time: a pid alone may be somebody else's by now (row R7)."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

__all__ = ["boot_id", "kill_process", "seconds_since", "start_time"]


def boot_id() -> str:
    """Tells this boot from others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Start time of `pid` in clock ticks since boot; None when it does not exist or is a zombie (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def seconds_since(starttime: int) -> float:
    """How long ago a process with this start time started, by the clock that nobody sets (0: it never did, 0.0)."""
    if not starttime:
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - starttime / os.sysconf("SC_CLK_TCK")


def kill_process(pid: int, starttime: int, timeout: float = 5.0) -> bool:
    """SIGKILL the process that is `pid` *and* started at `starttime`, and wait for its end. True when it was there.

    The pidfd is opened before the start time is read, so what is checked is what is killed.
    """
    if pid <= 1:
        return False
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if start_time(pid) != starttime:
            return False
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        select.select([fd], [], [], timeout)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
