"""What the kernel's refusals mean in the contract's errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from barque.spi.errors import Conflict, FailedPrecondition, Internal, ResourceExhausted

__all__ = ["kernel"]


@contextmanager
def kernel(action: str) -> Iterator[None]:
    """Turn an OSError of `action` (`making network x`) into an error of the contract."""
    try:
        yield
    except OSError as error:
        message = f"{action}: {error.strerror or error}"
        if error.errno in (errno.EPERM, errno.EACCES, errno.EROFS):
            raise FailedPrecondition(
                message, hint="the daemon needs CAP_NET_ADMIN and CAP_SYS_ADMIN"
            ) from error
        if error.errno in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
            hint = "the kernel lacks it: see CONFIG_MACVLAN, CONFIG_IPVLAN, CONFIG_VLAN_8021Q"
            raise FailedPrecondition(message, hint=hint) from error
        if error.errno in (errno.ENOBUFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            raise ResourceExhausted(message) from error
        if error.errno in (errno.EEXIST, errno.EBUSY):
            raise Conflict(message) from error
        raise Internal(message) from error
