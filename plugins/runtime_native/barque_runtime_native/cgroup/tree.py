"""Walking a cgroup and what is below it.

What is below belongs to the container: it may nest deeper than a path or Python's stack can be. So the walk goes
from one directory to the next by descriptor, and keeps no more than one open.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
GONE = (errno.ENOENT, errno.ENODEV)


def walk(directory: str, *, remove: bool = False) -> Iterator[int]:
    """A descriptor of every cgroup from `directory` down, each before its parent; nothing when it is gone.

    The descriptor is the caller's until the next step. With `remove`, each cgroup below `directory` is removed when
    it has been visited. Errors: OSError (EBUSY for a cgroup with processes).
    """
    try:
        current = os.open(directory, FLAGS)
    except OSError as error:
        if error.errno in GONE:
            return
        raise
    try:
        ahead, path = [children(current)], [""]
        while True:
            if ahead[-1]:
                name = ahead[-1].pop()
                below = open_at(current, name)
                if below < 0:
                    continue
                os.close(current)
                current = below
                ahead.append(children(current))
                path.append(name)
                continue
            yield current
            ahead.pop()
            if not ahead:
                return
            above = os.open("..", FLAGS, dir_fd=current)
            os.close(current)
            current = above
            name = path.pop()
            if remove:
                remove_at(current, name)
    finally:
        os.close(current)


def children(fd: int) -> list[str]:
    """Names of the cgroups in a cgroup."""
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in GONE:
            return []
        raise


def open_at(fd: int, name: str) -> int:
    """The cgroup `name` below `fd`, or -1 when it is gone."""
    try:
        return os.open(name, FLAGS, dir_fd=fd)
    except OSError as error:
        if error.errno in GONE:
            return -1
        raise


def remove_at(fd: int, name: str) -> None:
    """Remove the cgroup `name` below `fd`; gone already is fine."""
    try:
        os.rmdir(name, dir_fd=fd)
    except FileNotFoundError:
        return


def read_at(fd: int, file: str) -> str:
    """A control file of the cgroup `fd`; empty when it or the cgroup is gone, or it cannot be read here."""
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return ""
    try:
        parts = []
        while part := os.read(opened, 65536):
            parts.append(part)
    except OSError as error:
        # a threaded cgroup of v2 tells its processes at the head of the threaded tree only
        if error.errno in (*GONE, errno.EOPNOTSUPP):
            return ""
        raise
    finally:
        os.close(opened)
    return os.fsdecode(b"".join(parts))


def write_at(fd: int, file: str, text: str) -> bool:
    """Write a control file of the cgroup `fd`; False when it or the cgroup is not there."""
    try:
        opened = os.open(file, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    except OSError as error:
        if error.errno in GONE:
            return False
        raise
    try:
        os.write(opened, text.encode())
    except OSError as error:
        if error.errno in GONE:
            return False
        raise
    finally:
        os.close(opened)
    return True
