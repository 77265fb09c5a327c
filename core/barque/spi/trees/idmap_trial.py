"""The child process of `idmap.why_not`: make a detached mount of a directory and shift its owners."""

from __future__ import annotations

import os
import sys

from barque.spi.trees.syscalls import mount_setattr, open_tree, unshare

__all__ = ["main"]

_CLONE_NEWUSER = 0x10000000
_OPEN_TREE_CLONE = 1
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_MOUNT_ATTR_IDMAP = 0x00100000
_OVERLAY_OF_SHIFTED_LAYERS = (5, 19)


def main(directory: str) -> None:
    """Try it; exit with the reason when it does not work."""
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    if release < _OVERLAY_OF_SHIFTED_LAYERS:
        sys.exit(f"Linux {os.uname().release} is too old")
    try:
        _attempt(directory)
    except OSError as error:
        sys.exit(error.strerror)


def _attempt(directory: str) -> None:
    tree = open_tree(_AT_FDCWD, os.fsencode(directory), _OPEN_TREE_CLONE | os.O_CLOEXEC)
    mount_setattr(tree, _AT_EMPTY_PATH, _MOUNT_ATTR_IDMAP, 0, _user_namespace())


def _user_namespace() -> int:
    """A descriptor of a user namespace that maps one id."""
    ready_read, ready_write = os.pipe()
    hold_read, hold_write = os.pipe()
    child = os.fork()
    if not child:
        os.close(hold_write)
        unshare(_CLONE_NEWUSER)
        os.write(ready_write, b"1")
        os.read(hold_read, 1)
        os._exit(0)
    os.close(ready_write)
    try:
        if not os.read(ready_read, 1):
            raise PermissionError(1, "user namespaces cannot be made here")
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{name}", "w", encoding="ascii") as file:
                file.write("0 1000 1")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(hold_write)
        os.waitpid(child, 0)
