"""A view of a directory to read from: of its own mount only, with no device to be opened and no access time changed."""

from __future__ import annotations

import errno
import os

from barque.spi.trees.syscalls import mount_setattr, open_tree

__all__ = ["guarded_view", "read_only_view"]

_OPEN_TREE_CLONE = 0x1
_AT_EMPTY_PATH = 0x1000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _NOATIME, _ATIME = 0x1, 0x2, 0x4, 0x8, 0x10, 0x70
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


_REFUSED = frozenset({errno.EPERM, errno.EINVAL, errno.ENOSYS})


def guarded_view(dir_fd: int) -> int:
    """A `read_only_view` where the kernel lets us make one, else another descriptor of the directory: who may not make the view is an
    ordinary user, whom no race for a device lets open more than what is his."""
    try:
        return read_only_view(dir_fd)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return os.open(".", _OPEN_DIRECTORY, dir_fd=dir_fd)


def read_only_view(dir_fd: int) -> int:
    """A new descriptor of the directory `dir_fd` in a detached copy of its mount: read-only, no devices, without what is mounted in it.

    Who swaps a file for a device while we open it gains nothing then. It needs CAP_SYS_ADMIN and a mount of this process's
    own mount namespace. Errors: OSError (EPERM without them).
    """
    tree = open_tree(dir_fd, b"", _OPEN_TREE_CLONE | _AT_EMPTY_PATH | os.O_CLOEXEC)
    try:
        try:
            mount_setattr(tree, _AT_EMPTY_PATH, _RDONLY | _NOSUID | _NODEV | _NOEXEC | _NOATIME, _ATIME)
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            mount_setattr(
                tree, _AT_EMPTY_PATH, _RDONLY | _NODEV, 0
            )  # access times are locked in this user namespace
        return os.open(".", _OPEN_DIRECTORY, dir_fd=tree)
    finally:
        os.close(tree)
