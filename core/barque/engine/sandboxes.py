"""Network namespaces as descriptors: they live as long as somebody holds them, so a crash leaks none."""

from __future__ import annotations

import ctypes
import os
import threading

from barque.spi.errors import FailedPrecondition

__all__ = ["new_sandbox", "open_sandbox"]

_CLONE_NEWNET = 0x40000000


def new_sandbox() -> int:
    """A fresh network namespace. A thread that ends at once makes it, so that no other thread ever leaves the host's."""
    result: list[int] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) != 0:
            result.append(-ctypes.get_errno())
            return
        result.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make, name="new-sandbox")
    thread.start()
    thread.join()
    if result[0] < 0:
        raise FailedPrecondition(
            f"cannot make a network namespace: {os.strerror(-result[0])}", hint="run the daemon as root"
        )
    return result[0]


def open_sandbox(pid: int) -> int:
    """The network namespace of a process."""
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
