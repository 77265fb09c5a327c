"""What the kernel says, as an error for people."""

from __future__ import annotations

import errno
import os

from barque.spi.errors import (
    BarqueError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)

_CLASSES: dict[int, type[BarqueError]] = {
    errno.EPERM: PermissionDenied,
    errno.EACCES: PermissionDenied,
    errno.EROFS: PermissionDenied,
    errno.ENOSPC: ResourceExhausted,
    errno.EDQUOT: ResourceExhausted,
    errno.ENOMEM: ResourceExhausted,
    errno.EAGAIN: ResourceExhausted,
    errno.EMFILE: ResourceExhausted,
    errno.ENFILE: ResourceExhausted,
    errno.EUSERS: ResourceExhausted,
    errno.ENOSYS: FailedPrecondition,
    errno.ENODEV: FailedPrecondition,
    errno.EOPNOTSUPP: FailedPrecondition,
}
NOT_FOUND, NOT_EXECUTABLE = 127, 126


def translate(error: BaseException, doing: str) -> BarqueError:
    """`error` as one of the tree; `doing` says what was being done."""
    if isinstance(error, BarqueError):
        return error
    if isinstance(error, OSError):
        what = f" ({error.filename})" if isinstance(error.filename, str) and "/" in error.filename else ""
        text = (error.strerror or str(error)).lower()
        return _CLASSES.get(error.errno or 0, InvalidArgument)(f"{doing}: {text}{what}")
    return Internal(f"{doing}: {type(error).__name__}: {error}")


def program_error(program: str, number: int, detail: str = "") -> BarqueError:
    """Why a program cannot be executed, in Docker's words and with its exit codes."""
    text = detail or os.strerror(number).lower()
    message = f'unable to start container process: exec: "{program}": {text}'
    if number in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(message, exit_code=NOT_FOUND)
    return PermissionDenied(message, exit_code=NOT_EXECUTABLE)
