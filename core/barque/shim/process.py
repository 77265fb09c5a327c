"""What a forked child does first to become a process of its own: session, signals, name, descriptors."""

from __future__ import annotations

import os
import signal
from types import FrameType

from barque.shim import kernel
from barque.shim.reaper import reap

__all__ = ["Title", "become_shim", "handle_signals", "signal_pipe", "start_time"]

_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ)


class Title:
    """What `ps` shows of this process: the memory its argv was put in at execve."""

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # arg_start, arg_end: fields 48 and 49 of proc(5)
        self._memory = kernel.memory_at(start, end - start) if start < end else None

    def set(self, title: bytes) -> None:
        """Overwrite it, cut to the room there is."""
        if self._memory is not None:
            size = len(self._memory)
            self._memory.raw = title[: size - 1].ljust(size, b"\0")


def handle_signals() -> None:
    """For the launcher, and by inheritance its shims: nothing but SIGKILL ends them, and ended shims are reaped.

    A handler that does nothing and not SIG_IGN: what is executed from a shim starts with the default.
    """
    for number in _IGNORED:
        signal.signal(number, _nothing)
    launcher = os.getpid()

    def child_ended(_signal: int, _frame: FrameType | None) -> None:
        if os.getpid() == launcher:
            reap()

    signal.signal(signal.SIGCHLD, child_ended)


def become_shim() -> None:
    """Leave the launcher's and the daemon's company."""
    os.setsid()
    kernel.set_name("barque-shim")
    kernel.set_subreaper()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 2)  # 0 and 1 are it already
    os.close(null)


def signal_pipe() -> int:
    """The reading end of a pipe that becomes readable with every signal, SIGCHLD above all."""
    ours, handler_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(handler_end, warn_on_full_buffer=False)
    return ours


def start_time(pid: int) -> int:
    """When `pid` started, in clock ticks since boot: with the pid it names a process for good. 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _nothing(_signal: int, _frame: FrameType | None) -> None:
    return None
