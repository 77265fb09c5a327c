"""Hybrid cgroups (v1 with an empty v2 hierarchy in `unified`) hidden from crun, which refuses them.

The shim lives in a mount namespace of its own. There, and only there, the v2 mount may be detached.
"""

from __future__ import annotations

import ctypes
import errno
import os

from barque.spi.errors import FailedPrecondition
from barque_runtime_runc.mountinfo import cgroup_mounts

__all__ = ["hide_unified"]

_MNT_DETACH = 2
_MS_RDONLY = 1


def hide_unified(program: str) -> None:
    """Detach the v2 mount before `program` is called, when that is crun and v1 is mounted too. Idempotent."""
    if not os.path.basename(os.path.realpath(program)).startswith("crun"):
        return
    mounts = cgroup_mounts()
    unified = [mount for mount in mounts if mount.unified and not _is_covered(mount.path)]
    if not unified or all(mount.unified for mount in mounts):
        return
    if _in_namespace_of_others() or any(mount.parent_shared for mount in unified):
        raise FailedPrecondition(
            "crun does not work with hybrid cgroups",
            hint="use runc, umount /sys/fs/cgroup/unified, or run in a private mount namespace",
        )
    for mount in unified:
        _detach(mount.path)


def _in_namespace_of_others() -> bool:
    """Whether init or the parent see the same mounts as this process; also when neither can be looked at."""
    others = {_mount_namespace(1), _mount_namespace(os.getppid())} - {""}
    return not others or _mount_namespace(os.getpid()) in others


def _mount_namespace(pid: int) -> str:
    """The name of its mount namespace; empty when the kernel does not tell (a process with more capabilities)."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def _is_covered(path: str) -> bool:
    return not os.path.exists(f"{path}/cgroup.procs")


def _detach(path: str) -> None:
    """Detach the mount, or cover it: what a user namespace got from its parent is locked (mount_namespaces(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        return
    if ctypes.get_errno() == errno.EINVAL:
        flags = ctypes.c_ulong(_MS_RDONLY)
        if libc.mount(b"none", os.fsencode(path), b"tmpfs", flags, b"size=4k") == 0:
            return
    code = ctypes.get_errno()
    raise FailedPrecondition(f"cannot detach {path} for crun: {os.strerror(code)}")
