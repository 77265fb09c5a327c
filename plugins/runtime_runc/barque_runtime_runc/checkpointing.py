"""Checkpoint and restore through CRIU, which the runtime calls: what is asked for, and what became of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from barque.spi.errors import BarqueError, FailedPrecondition
from barque.spi.runtime import RuntimeCheckpoint
from barque_runtime_runc.command import find_program
from barque_runtime_runc.layout import Layout

__all__ = ["RESTORE_OPTIONS", "checkpoint_options", "dumping", "require_criu", "restoring"]

_LOGS = ("dump.log", "restore.log")
_LONGEST_LOG = 1 << 20
_MOST_LINES = 4

# What a checkpoint allowed its restore must allow too, and the request for one does not tell which: each only allows.
RESTORE_OPTIONS = ("--tcp-established", "--file-locks", "--ext-unix-sk", "--shell-job")


def require_criu() -> None:
    """FailedPrecondition without CRIU."""
    try:
        find_program("criu")
    except FailedPrecondition:
        raise FailedPrecondition(
            "checkpoint and restore need CRIU, which was not found", hint="install it (apt install criu)"
        ) from None


def checkpoint_options(request: RuntimeCheckpoint) -> list[str]:
    """The request's flags in the words that runc and crun share."""
    flags = {
        "--leave-running": request.leave_running,
        "--tcp-established": request.tcp_established,
        "--file-locks": request.file_locks,
        "--ext-unix-sk": request.external_unix,
        "--shell-job": request.shell_job,
    }
    return [flag for flag, wanted in flags.items() if wanted]


@contextmanager
def dumping(layout: Layout, directory: str) -> Iterator[str]:
    """The directory for CRIU's logs; on an error `directory` is emptied, and the error tells CRIU's."""
    try:
        with restoring(layout) as logs:
            yield logs
    except BaseException:
        _empty(directory)
        raise


@contextmanager
def restoring(layout: Layout) -> Iterator[str]:
    """The directory for CRIU's logs; an error tells what is in them."""
    logs = layout.make_criu_directory()
    try:
        yield logs
    except BarqueError as error:
        lines = _criu_errors(logs)
        if not lines:
            raise
        raise FailedPrecondition(f"CRIU failed: {'; '.join(lines)}", hint=_HINT) from error
    finally:
        layout.remove_criu_directory()


_HINT = "`criu check` tells whether this kernel can do it; open connections, locks and terminals must be allowed for"


def _criu_errors(logs: str) -> list[str]:
    """The last lines of CRIU's log that tell of an error: `(00.012) Error (criu/tty.c:1): text`."""
    lines: list[str] = []
    for name in _LOGS:
        path = f"{logs}/{name}"
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                lines += [line.strip() for line in file.read(_LONGEST_LOG).splitlines() if "Error (" in line]
    return [line[line.index("Error (") :] for line in lines[-_MOST_LINES:]]


def _empty(directory: str) -> None:
    for parent, directories, files in os.walk(directory, topdown=False):
        for name in (*files, *directories):
            path = f"{parent}/{name}"
            if os.path.isdir(path) and not os.path.islink(path):
                os.rmdir(path)
            else:
                os.unlink(path)
