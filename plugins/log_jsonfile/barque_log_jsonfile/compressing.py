"""Rotated files are compressed by a process of its own: the shim, which writes the log, has a container to look after.

The writer renames files while they are compressed. A lock on the directory, held for a few renames only, keeps the two apart;
readers need none.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from barque_log_jsonfile.identities import FileIdentity, identity, note
from barque_log_jsonfile.paths import LogPaths

__all__ = ["compress", "compress_behind", "renaming"]

_BLOCK = 1 << 18
_LEVEL = 1
_LAST_FD = 1 << 20


@contextmanager
def renaming(paths: LogPaths) -> Iterator[None]:
    """Nobody else renames files of the log meanwhile. Errors: OSError."""
    fd = os.open(paths.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def compress_behind(paths: LogPaths) -> None:
    """Have every rotated file compressed, without waiting for it. Errors: OSError, when there can be no process."""
    child = os.fork()
    if child == 0:
        _detach(paths)
    os.waitpid(child, 0)  # it ends at once; its own child is an orphan, which init or the shim reaps


def _detach(paths: LogPaths) -> NoReturn:
    try:
        if os.fork() == 0:
            signal.set_wakeup_fd(-1)  # first: its number will be a file's, and signals would be written there
            os.closerange(3, _LAST_FD)  # or it would hold connections and terminals that are to be closed
            os.nice(10)
            compress(paths)
    finally:
        os._exit(0)


def compress(paths: LogPaths) -> None:
    """Compress every rotated file; nothing when somebody else is at it. A full disk leaves them as they are."""
    with suppress(OSError):
        lock = os.open(paths.lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            while (fd := _waiting(paths)) >= 0:
                _compress_one(paths, fd)
        finally:
            os.close(lock)


def _waiting(paths: LogPaths) -> int:
    """The oldest file that is not compressed, open; -1 when all are."""
    for age in range(paths.max_files - 1, 0, -1):
        with suppress(FileNotFoundError):
            return os.open(paths.path(age), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    return -1


def _compress_one(paths: LogPaths, fd: int) -> None:
    """A reader finds the one or the other at any time. Closes `fd`. Errors: OSError."""
    try:
        with os.fdopen(fd, "rb") as source:
            file = identity(fd)
            _pack(paths, source.fileno(), file)
            with renaming(paths):
                age = paths.plain_age(file)  # it may have been rotated again meanwhile, or be dropped
                if age > 0:
                    _replace(paths, age)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(paths.unfinished)


def _replace(paths: LogPaths, age: int) -> None:
    """Where there is a compressed one already, which a killed compressor made, readers may have that open: it stays."""
    packed = paths.path(age, packed=True)
    if not os.path.lexists(packed):
        os.rename(paths.unfinished, packed)
    os.unlink(paths.path(age))


def _pack(paths: LogPaths, source: int, file: FileIdentity) -> None:
    from gzip import GzipFile

    target = os.open(
        paths.unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640
    )
    with os.fdopen(target, "wb", buffering=0) as raw:
        with GzipFile(note(file), "wb", compresslevel=_LEVEL, fileobj=raw) as packed:
            while block := os.read(source, _BLOCK):
                packed.write(block)
        status = os.fstat(source)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))  # `since` passes over old files
        os.fsync(target)
