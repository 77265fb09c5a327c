"""Whole directory trees of any depth and any content: measure them, remove them. Never follows a link."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from itertools import count

from barque.spi.storage import Usage

__all__ = ["measure", "remove"]

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_NESTED = 256  # descriptors held at a time; a container can nest directories without limit


def measure(root: str | int) -> Usage:
    """What is below the directory `root`, itself not counted: allocated bytes of regular files, hard links once, and
    inodes. Files that vanish meanwhile are not counted, nor is what lies more than 256 directories deep."""
    size = inodes = 0
    linked: set[tuple[int, int]] = set()
    for status in _walk(root):
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            identity = (status.st_dev, status.st_ino)
            if identity in linked:
                continue
            linked.add(identity)
        inodes += 1
        if stat.S_ISREG(status.st_mode):
            size += status.st_blocks * 512
    return Usage(size, inodes)


def _walk(root: str | int) -> Iterator[os.stat_result]:
    """The status of everything below `root`."""
    stack = [os.open(".", _OPEN, dir_fd=root) if isinstance(root, int) else os.open(root, _OPEN)]
    names = [os.listdir(stack[0])]
    try:
        while stack:
            if not names[-1]:
                names.pop()
                os.close(stack.pop())
                continue
            name = names[-1].pop()
            try:
                status = os.stat(name, dir_fd=stack[-1], follow_symlinks=False)
                yield status
                if stat.S_ISDIR(status.st_mode) and len(stack) < _MAX_NESTED:
                    stack.append(os.open(name, _OPEN, dir_fd=stack[-1]))
                    names.append(os.listdir(stack[-1]))
            except (FileNotFoundError, NotADirectoryError):
                continue
    finally:
        for fd in stack:
            os.close(fd)


def remove(parent_fd: int, name: str) -> None:
    """Remove `name` in the directory `parent_fd`, whatever it is. Idempotent.

    A directory in it that is not empty is moved up beside `name` (under a fresh random name) and emptied there: that
    needs two descriptors and no recursion, however deep the tree is. Errors: OSError.
    """
    fresh = (f"{token}.{number}" for token in [secrets.token_hex(8)] for number in count())
    waiting = [name]
    while waiting:
        waiting += _remove_one(parent_fd, waiting.pop(), fresh)


def _remove_one(parent_fd: int, name: str, fresh: Iterator[str]) -> list[str]:
    """Remove `name`; the directories that were in it and are left, now in `parent_fd`."""
    try:
        fd = os.open(name, _OPEN, dir_fd=parent_fd)
    except FileNotFoundError:
        return []
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(name, dir_fd=parent_fd)
        return []
    try:
        moved = _empty(fd, parent_fd, fresh)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent_fd)
    return moved


def _empty(fd: int, parent_fd: int, fresh: Iterator[str]) -> list[str]:
    """Unlink the files of directory `fd`, remove its empty directories and move the others to `parent_fd`."""
    moved = []
    with os.scandir(fd) as entries:
        listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for child, is_directory in listed:
        if not is_directory:
            os.unlink(child, dir_fd=fd)
            continue
        try:
            os.rmdir(child, dir_fd=fd)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            target = next(fresh)
            os.rename(child, target, src_dir_fd=fd, dst_dir_fd=parent_fd)
            moved.append(target)
    return moved
