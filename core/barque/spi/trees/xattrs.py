"""Which extended attributes of a tar may reach the disk, and the ones overlayfs itself reads."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from barque.spi.errors import FailedPrecondition
from barque.spi.trees.header import malformed

__all__ = ["filtered", "in_user_namespace", "listed", "opaque_attribute", "permitted", "read", "set_all"]

_CAPABILITY = b"security.capability"
_KEPT = frozenset({_CAPABILITY, b"system.posix_acl_access", b"system.posix_acl_default"})
_OVERLAY = b"user.overlay."
_MAX_NAME = 255


def in_user_namespace() -> bool:
    """True unless all user ids map to themselves: then overlayfs reads `user.overlay.*` (overlayfs.rst, "userxattr")."""
    with open("/proc/self/uid_map", "rb") as file:
        return file.read(4096).split() != [b"0", b"0", b"4294967295"]


def opaque_attribute(user_namespace: bool) -> bytes:
    """The attribute that makes a directory opaque: an overlay mounted in a user namespace reads `user.*` only."""
    return b"user.overlay.opaque" if user_namespace else b"trusted.overlay.opaque"


def filtered(xattrs: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """What of `xattrs` an image may set: file capabilities, POSIX ACLs, `user.*`.

    Dropped are the attributes that speak to the host: trusted.* and user.overlay.* would redirect overlayfs to other
    directories, security.* are labels and signatures of the host's own policy (SELinux, IMA, EVM).
    """
    return {name: value for name, value in xattrs.items() if permitted(name)}


def permitted(name: bytes) -> bool:
    """Whether an image may have the attribute `name`: see `filtered`."""
    if name in _KEPT:
        return True
    return name.startswith(b"user.") and not name.startswith(_OVERLAY) and len(name) <= _MAX_NAME


def listed(fd: int) -> list[str]:
    """The names of all attributes of the file `fd`; none where the file system has no attributes."""
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return []
        raise


def read(fd: int, names: Iterable[str]) -> dict[bytes, bytes]:
    """Those of the attributes `names` that an image may have and a tar can name, with their values."""
    found = {}
    for name in names:
        key = os.fsencode(name)
        if permitted(key) and b"=" not in key:
            with suppress(
                OSError
            ):  # gone since it was listed, or of a file system that lists what it will not tell
                found[key] = os.getxattr(fd, name)
    return found


def set_all(fd: int, name: bytes, xattrs: Mapping[bytes, bytes]) -> None:
    """Set the permitted ones of `xattrs` on the file `fd`, entry `name` of the tar.

    A file system without user attributes or ACLs loses them, as with Docker; a lost capability is an error.
    """
    for attribute, value in filtered(xattrs).items():
        try:
            os.setxattr(fd, attribute, value)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ERANGE, errno.E2BIG):
                raise malformed(
                    name, f"extended attribute {attribute.decode('utf-8', 'replace')} is malformed"
                ) from None
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise
            if attribute == _CAPABILITY:
                raise FailedPrecondition(
                    f"file capabilities of {name.decode('utf-8', 'replace')} cannot be stored: {error.strerror}",
                    hint="the storage root needs a file system with security extended attributes",
                ) from None
