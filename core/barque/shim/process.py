"""What a forked child does first to become a process of its own: session, signals, name, descriptors."""

from __future__ import annotations

import os
import signal
import socket
from types import FrameType

from barque.shim import kernel

__all__ = ["Title", "become_shim", "child_signals", "start_time"]

_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)


class Title:
    """What `ps` shows of this process: the memory its argv was put in at execve."""

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        self._start, end = int(fields[45]), int(fields[46])  # arg_start, arg_end: fields 48 and 49 of proc(5)
        self._size = end - self._start

    def set(self, title: str) -> None:
        """Overwrite it, cut to the room there is."""
        if self._start and self._size > 1:
            kernel.write_memory(self._start, self._size, title.encode())


def become_shim() -> None:
    """Leave the launcher's and the daemon's company: nothing of theirs ends this process but SIGKILL."""
    os.setsid()
    kernel.set_name("barque-shim")
    kernel.set_subreaper()
    for number in _IGNORED:
        # A handler that does nothing and not SIG_IGN: what is executed from here starts with the default.
        signal.signal(number, _nothing)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def child_signals() -> socket.socket:
    """A socket that becomes readable with every signal, SIGCHLD above all."""
    ours, handler_end = socket.socketpair()
    for end in (ours, handler_end):
        end.setblocking(False)
    signal.set_wakeup_fd(handler_end.detach(), warn_on_full_buffer=False)
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
