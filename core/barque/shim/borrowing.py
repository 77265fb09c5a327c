"""Another container's /dev/shm, for one that joins its IPC namespace. Loaded when that is asked for."""

from __future__ import annotations

import os

from barque.shim import kernel
from barque.spi.errors import Conflict, PermissionDenied

__all__ = ["borrow_memory"]

_PLACE = "/dev/shm"


def borrow_memory(lender: str, target: str) -> None:
    """Attach the /dev/shm of the process `lender` (`/proc/PID`) at `target`, which is made, in this process's mount namespace.

    No other thread may run. Errors: Conflict when the lender has ended, PermissionDenied.
    """
    os.makedirs(target, mode=0o700, exist_ok=True)
    try:
        theirs = os.open(f"{lender}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Conflict("cannot join IPC of a non running container") from error
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        tree = _clone(theirs, own)
    except OSError as error:
        raise PermissionDenied(f"cannot share {_PLACE} of another container: {error.strerror}") from error
    finally:
        os.close(own)
        os.close(theirs)
    try:
        kernel.move_mount(tree, target)
    finally:
        os.close(tree)


def _clone(theirs: int, own: int) -> int:
    """Nothing is imported or read between the two calls: the files one would find there are the other container's. A link at the
    place is not followed."""
    flags = kernel.OPEN_TREE_CLONE | kernel.OPEN_TREE_CLOEXEC | kernel.AT_SYMLINK_NOFOLLOW
    kernel.setns(theirs, kernel.CLONE_NEWNS)
    try:
        return kernel.open_tree(_PLACE, flags)
    finally:
        kernel.setns(own, kernel.CLONE_NEWNS)
