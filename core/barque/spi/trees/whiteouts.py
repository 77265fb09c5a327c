"""How an unpacked layer remembers what it hides of the layers below: for overlayfs to read, or by names.

`overlay`: a character device 0/0 in the place of the hidden name, and an extended attribute on an opaque directory
(kernel, overlayfs.rst, "whiteouts and opaque directories"). `names`: empty files called as in the tar (OCI image-spec,
"Whiteouts"), `.wh.NAME` and `.wh..wh..opq`. They need no privilege and no attributes; `barque.spi.trees.union` reads them.
"""

from __future__ import annotations

import os
import stat

from barque.spi.trees import xattrs
from barque.spi.trees.jobs import OVERLAY
from barque.spi.trees.naming import OPAQUE, PREFIX

__all__ = ["NAMES", "OPAQUE", "OVERLAY", "PREFIX", "Whiteouts"]

NAMES = "names"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Whiteouts:
    """Makes the marks of one form."""

    def __init__(self, form: str, user_namespace: bool) -> None:
        """`form`: OVERLAY or NAMES; `user_namespace`: overlayfs will be mounted in one."""
        self._names = form == NAMES
        self._attribute = xattrs.opaque_attribute(user_namespace)

    def hide(self, parent_fd: int, base: bytes) -> int:
        """Hide `base` of the lower layers; the inodes it took. FileExistsError: this layer has something of that name, which
        only matters where the mark would stand in the same place."""
        if self._names:
            return _mark(parent_fd, PREFIX + base)
        os.mknod(base, stat.S_IFCHR, 0, dir_fd=parent_fd)
        return 1

    def make_opaque(self, fd: int) -> int:
        """Let directory `fd` hide all that lower layers have in it; the inodes it took."""
        if self._names:
            return _mark(fd, OPAQUE)
        os.setxattr(fd, self._attribute, b"y")
        return 0


def _mark(parent_fd: int, name: bytes) -> int:
    """Make an empty file, once."""
    try:
        os.close(os.open(name, _CREATE, 0o600, dir_fd=parent_fd))
    except FileExistsError:
        return 0
    return 1
