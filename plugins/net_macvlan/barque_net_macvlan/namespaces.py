"""Work inside a network namespace, in a thread that ends with it: no other thread ever leaves the daemon's (setns(2))."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_namespace", "write_sysctl"]

_CLONE_NEWNET = 0x40000000

T = TypeVar("T")


def in_namespace(netns: int, work: Callable[[], T]) -> T:
    """The result of `work`, done inside `netns`. Errors: OSError(EINVAL) when that is no network namespace; those of `work`."""
    results: list[T] = []
    errors: list[BaseException] = []

    def visit() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(netns, _CLONE_NEWNET) != 0:
                code = ctypes.get_errno()
                raise OSError(code, f"setns: {os.strerror(code)}")
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=visit, name="macvlan-netns", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def write_sysctl(path: str, value: str) -> None:
    """Set `/proc/sys/net/PATH` in the namespace of the calling thread."""
    fd = os.open(f"/proc/sys/net/{path}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
