"""Old files are compressed by a process of its own: the shim, which writes the log, has a container to look after."""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import suppress
from typing import NoReturn

from barque_log_local.files import LOCK, UNFINISHED, LogFiles

__all__ = ["compress", "compress_behind"]

_BLOCK = 1 << 18
_LEVEL = 1
_LAST_FD = 1 << 20


def compress_behind(files: LogFiles) -> None:
    """Have every file but the newest compressed, without waiting for it. Raises OSError when there can be no process."""
    child = os.fork()
    if child == 0:
        _detach(files)
    os.waitpid(child, 0)  # it ends at once; its own child is an orphan, which init or the shim reaps


def _detach(files: LogFiles) -> NoReturn:
    try:
        if os.fork() == 0:
            signal.set_wakeup_fd(
                -1
            )  # first: its number will be a file's, into which signals would be written
            os.closerange(3, _LAST_FD)  # or it would hold connections and terminals that are to be closed
            os.nice(10)
            compress(files)
    finally:
        os._exit(0)


def compress(files: LogFiles) -> None:
    """Compress every file but the newest; nothing when somebody else is at it. A full disk leaves them as they are."""
    with suppress(OSError):
        lock = os.open(
            f"{files.directory}/{LOCK}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            while waiting := [n for n in files.numbers()[:-1] if os.path.lexists(files.path(n))]:
                for number in waiting:
                    _compress_one(files, number)
        finally:
            os.close(lock)


def _compress_one(files: LogFiles, number: int) -> None:
    """A reader finds the one or the other at any time. Raises OSError."""
    import gzip

    plain, packed = files.path(number), files.path(number, compressed=True)
    unfinished = packed + UNFINISHED
    try:
        with open(plain, "rb") as source, gzip.open(unfinished, "wb", _LEVEL) as target:
            while block := source.read(_BLOCK):
                target.write(block)
        os.chmod(unfinished, 0o640)
        if os.path.lexists(plain):  # else it was dropped meanwhile
            os.rename(unfinished, packed)
            os.unlink(plain)
    except FileNotFoundError:
        return  # dropped before it was its turn
    finally:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
