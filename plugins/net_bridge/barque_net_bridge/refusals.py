"""What the kernel's refusals mean in the contract's errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from barque.spi.errors import BarqueError, Conflict, FailedPrecondition, Internal, ResourceExhausted

__all__ = ["kernel"]

_DENIED = {errno.EPERM, errno.EACCES, errno.EROFS}
_FULL = {errno.ENOBUFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EAGAIN}
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ENOSYS}


@contextmanager
def kernel(action: str) -> Iterator[None]:
    """Turn an OSError of `action` (a phrase for the user: `making bridge barque0`) into an error of the contract."""
    try:
        yield
    except OSError as error:
        raise _translated(action, error) from error


def _translated(action: str, error: OSError) -> BarqueError:
    message = f"{action}: {error.strerror or error}"
    if error.errno in _DENIED:
        return FailedPrecondition(
            message, hint="the daemon needs CAP_NET_ADMIN, CAP_SYS_ADMIN and a writable /proc/sys/net"
        )
    if error.errno in _FULL:
        return ResourceExhausted(message)
    if error.errno == errno.EEXIST:
        return Conflict(message)
    if error.errno in _UNSUPPORTED:
        return FailedPrecondition(
            message, hint="the kernel lacks it: see CONFIG_BRIDGE, CONFIG_VETH, CONFIG_NF_TABLES"
        )
    return Internal(message)
