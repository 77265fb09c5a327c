"""`shim.log`: where a shim writes down defects, its own or a driver's; it has no terminal and no daemon for that."""

from __future__ import annotations

import os
import time
import traceback

__all__ = ["CRASH_LOG", "last_defect", "report_defect"]

CRASH_LOG = "shim.log"
_LIMIT = 64 * 1024
_LINE = 2048


def last_defect(state: str) -> str:
    """The last line of what was written down in the state directory: the error's own. Empty when there is nothing."""
    try:
        fd = os.open(os.path.join(state, CRASH_LOG), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        lines = os.pread(fd, _LINE, max(0, os.fstat(fd).st_size - _LINE)).decode(errors="replace").split("\n")
    finally:
        os.close(fd)
    return next((line for line in reversed(lines) if line.strip()), "")


def report_defect(directory: int, error: BaseException) -> None:
    """Append `error` with its traceback to the file in the open directory, which does not grow beyond 64 KiB."""
    lines = traceback.format_exception(error)
    text = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {''.join(lines)}\n".encode(errors="replace")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(CRASH_LOG, flags, 0o600, dir_fd=directory)
    except OSError:
        return  # a disk that takes nothing: there is no other place to tell it
    try:
        if os.fstat(fd).st_size < _LIMIT:
            os.write(fd, text[:_LIMIT])
    except OSError:
        return
    finally:
        os.close(fd)
