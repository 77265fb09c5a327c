"""The processes of a container that has no cgroup (rootless): those of its pid namespace, seen through /proc."""

from __future__ import annotations

import os

from barque_runtime_native.kernel import syscalls


def members(pid: int) -> set[int]:
    """The pids in the pid namespace of `pid`, or `pid` alone when that is our own namespace; none when it is gone."""
    namespace = namespace_of(pid)
    if not namespace:
        return set()
    if namespace == namespace_of(os.getpid()):
        return {pid}
    return {
        int(name) for name in os.listdir("/proc") if name.isdigit() and namespace_of(int(name)) == namespace
    }


def namespace_of(pid: int) -> str:
    """Which pid namespace a process is in; empty when it is gone, or not ours to look at."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def signal_members(pid: int, signal: int) -> None:
    """Signal every process in the pid namespace of `pid`. A pid that left meanwhile is not touched."""
    namespace = namespace_of(pid)
    for each in members(pid):
        try:
            pidfd = os.pidfd_open(each)
        except ProcessLookupError:
            continue
        try:
            if namespace_of(each) == namespace:
                syscalls.pidfd_send_signal(pidfd, signal)
        except ProcessLookupError:
            continue
        finally:
            os.close(pidfd)
