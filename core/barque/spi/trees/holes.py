"""Where a sparse file has data (lseek(2), SEEK_DATA and SEEK_HOLE)."""

from __future__ import annotations

import errno
import os

__all__ = ["next_data"]


def next_data(fd: int, position: int, size: int) -> tuple[int, int]:
    """Start and end of the data at or after `position`; both `size` when there is none. Errors: OSError."""
    try:
        start = os.lseek(fd, position, os.SEEK_DATA)
        end = os.lseek(fd, start, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size, size
        if error.errno == errno.EINVAL:
            return position, size  # this file system does not tell
        raise
    return min(start, size), min(end, size)
