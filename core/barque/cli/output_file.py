"""A file that is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from barque.cli.errors import CliError

__all__ = ["written_whole"]


@contextlib.contextmanager
def written_whole(path: str, failure: str) -> Iterator[BinaryIO]:
    """Write beside `path`, for the owner only, and rename in the end; nothing is left when the block fails.

    Raises CliError, beginning with `failure`, for what cannot be written to.
    """
    _check(path, failure)
    temporary = f"{os.path.join(os.path.dirname(path), '.')}{os.path.basename(path)}.{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CliError(f"{failure}: open {path}: {_reason(error)}") from error
    try:
        with open(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(fd)
        os.rename(temporary, path)
    except OSError as error:
        os.unlink(temporary)
        raise CliError(f"{failure}: write {path}: {_reason(error)}") from error
    except BaseException:
        os.unlink(temporary)
        raise


def _check(path: str, failure: str) -> None:
    directory = os.path.dirname(os.path.normpath(path))
    try:
        if directory:
            os.stat(directory)
    except OSError as error:
        raise CliError(f"{failure}: invalid output path: stat {directory}: {_reason(error)}") from None
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    for is_wrong, what in (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISCHR, "a character device file"),
        (stat.S_ISBLK, "a block device file"),
    ):
        if is_wrong(mode):
            raise CliError(f"{failure}: cannot write to {what}")


def _reason(error: OSError) -> str:
    """In Go's spelling, without a capital."""
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]
