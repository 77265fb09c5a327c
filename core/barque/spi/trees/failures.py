"""Failed operations on the driver's own file system, as errors of the contract."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from barque.spi.errors import BarqueError, FailedPrecondition, Internal, ResourceExhausted

__all__ = ["disk_error", "reported"]


@contextmanager
def reported(doing: str, root: str) -> Iterator[None]:
    """Let an OSError of the block leave as the BarqueError it means."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, doing, root) from error


def disk_error(error: OSError, doing: str, root: str) -> BarqueError:
    """The BarqueError for `error`, met while `doing` something in the directory `root`."""
    reason = error.strerror or str(error)
    text = f"{doing} in {root}: {reason}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceExhausted(text, hint=f"free space or inodes on the file system of {root}")
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EMLINK):
        return ResourceExhausted(text)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return FailedPrecondition(text, hint="the storage root must be writable")
    return Internal(text)
