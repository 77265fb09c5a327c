"""The child process of `probe`: mount an overlay, delete and replace something in it, look at the result."""

from __future__ import annotations

import os
import stat
import sys

from barque.spi.trees.syscalls import CLONE_NEWNS, MS_PRIVATE, MS_REC, mount, unshare
from barque.spi.trees.xattrs import in_user_namespace, opaque_attribute
from barque_storage_overlay.options import mount_options

__all__ = ["main"]


def main(directory: str) -> None:
    """Try it in the empty directory `directory`; exit with the reason when it does not work."""
    try:
        _attempt(directory)
    except OSError as error:
        sys.exit(f"{error.strerror} ({error.filename!s})" if error.filename else str(error))


def _attempt(directory: str) -> None:
    user_namespace = in_user_namespace()
    unshare(CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE, None)
    os.chdir(directory)
    for name in ("lower/gone", "lower/again", "upper", "work", "merged"):
        os.makedirs(name)
    options = ",".join(
        ("lowerdir=lower,upperdir=upper,workdir=work", *mount_options(user_namespace=user_namespace))
    )
    mount("overlay", "merged", "overlay", 0, options)
    os.rmdir("merged/gone")
    status = os.stat("upper/gone")
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev:
        sys.exit("a deleted directory left no whiteout")
    os.rmdir("merged/again")
    os.mkdir("merged/again")
    if os.getxattr(b"upper/again", opaque_attribute(user_namespace)) != b"y":
        sys.exit("a replaced directory is not opaque")
