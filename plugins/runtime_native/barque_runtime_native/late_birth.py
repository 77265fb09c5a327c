"""The last fork of an exec: into the container's pid namespace, once nothing of the host's is left to take.

A process that may trace (CAP_SYS_PTRACE) in the user namespace of the runtime can trace everything that it can name, and
PR_SET_DUMPABLE is no obstacle to it; what is not in its pid namespace it cannot name. So whoever joins a container
stays outside of its pid namespace while it has descriptors and capabilities of the runtime. Only then it clones the
process that becomes the program: with the container's root, user, capabilities, filter and descriptors, and a line to
the runtime on which nothing counts any more but an error (CVE-2016-9962).

That process is a child of the runtime (CLONE_PARENT). Its pid is written by the kernel to memory shared with the
runtime, which needs no system call of a process that the filter may have left few.
"""

from __future__ import annotations

import os
from _ctypes import addressof
from fcntl import ioctl
from mmap import PAGESIZE, mmap

from barque_runtime_native.kernel.syscall_table import Char, call
from barque_runtime_native.process.console import TIOCSCTTY
from barque_runtime_native.seccomp.filter import Filter
from barque_runtime_native.seccomp.verdict import allowed, call_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLONE_PARENT, CLONE_PARENT_SETTID, SIGCHLD = 0x8000, 0x00100000, 17
FLAGS = CLONE_PARENT | CLONE_PARENT_SETTID | SIGCHLD


class LateBirth:
    """Made by the runtime, given to the process that joins."""

    def __init__(self) -> None:
        self.memory = mmap(-1, PAGESIZE)
        identity: Any = Char * 4
        self.identity = identity.from_buffer(self.memory)

    @property
    def pid(self) -> int:
        """The new process, as the runtime counts; 0 before it is born."""
        return int.from_bytes(self.identity.raw, "little")

    def fork(self, *, terminal: bool) -> None:
        """Returns in the new process, leader of a session with standard input as its terminal; the caller ends here."""
        if call("clone", FLAGS, 0, addressof(self.identity), 0, 0):
            os._exit(0)
        os.setsid()
        if terminal:
            ioctl(0, TIOCSCTTY, 0)


def can_fork_under(filter_: Filter, *, terminal: bool) -> bool:
    """Whether the filter lets pass all that `fork` does: then it can be loaded before, and the capability that loading
    it needs need not come along."""
    calls = [("clone", (FLAGS,)), ("setsid", ()), *([("ioctl", (0, TIOCSCTTY))] if terminal else [])]
    return all(allowed(filter_.program, call_number(name), arguments) for name, arguments in calls)
