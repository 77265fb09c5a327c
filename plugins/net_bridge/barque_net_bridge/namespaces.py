"""Work inside a network namespace, in a thread of its own.

A namespace is a property of a thread (namespaces(7), setns(2)). The thread that enters one here ends with the
work, so no thread that serves anybody else ever has a namespace that is not the daemon's.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["in_namespace", "in_new_namespace", "write_sysctl"]

CLONE_NEWNET = 0x40000000

T = TypeVar("T")


class _Visit(threading.Thread, Generic[T]):
    """One piece of work, and its result or error."""

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(name="barque-netns", daemon=True)
        self._work = work
        self.results: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.results.append(self._work())
        except BaseException as error:  # noqa: BLE001  raised again in the caller's thread
            self.error = error


def _elsewhere(work: Callable[[], T]) -> T:
    visit = _Visit(work)
    visit.start()
    visit.join()
    if visit.error is not None:
        raise visit.error
    return visit.results[0]


def in_namespace(netns: int, work: Callable[[], T]) -> T:
    """The result of `work`, done inside the namespace `netns` (a descriptor, which stays the caller's).

    Errors: OSError(EINVAL) when `netns` is no network namespace; whatever `work` raises.
    """

    def enter() -> T:
        _check(_libc().setns(netns, CLONE_NEWNET), "setns")
        return work()

    return _elsewhere(enter)


def in_new_namespace(work: Callable[[int], T]) -> tuple[int, T]:
    """Make a network namespace, do `work` inside; return its descriptor, now the caller's, and the result.

    `work` is given the same descriptor. When it raises, the namespace is gone with its last descriptor.
    """

    def make() -> tuple[int, T]:
        _check(_libc().unshare(CLONE_NEWNET), "unshare")
        netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return netns, work(netns)
        except BaseException:
            os.close(netns)
            raise

    return _elsewhere(make)


def write_sysctl(path: str, value: str) -> None:
    """Set `/proc/sys/net/PATH` in the namespace of the calling thread: procfs looks at who opens the file."""
    descriptor = os.open(f"/proc/sys/net/{path}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def read_sysctl(path: str) -> str:
    """The value of `/proc/sys/net/PATH`, or empty where the kernel has no such setting."""
    try:
        with open(f"/proc/sys/net/{path}", encoding="ascii") as file:
            return file.read(4096).strip()
    except FileNotFoundError:
        return ""


_LIBRARY: list[ctypes.CDLL] = []


def _libc() -> ctypes.CDLL:
    if not _LIBRARY:
        _LIBRARY.append(ctypes.CDLL(None, use_errno=True))
    return _LIBRARY[0]


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
