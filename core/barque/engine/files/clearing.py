"""Takes away what is in the way of a copy: a file or a whole directory of a container, links not followed, mounts not touched."""

from __future__ import annotations

import errno
import os
import stat

from barque.spi.errors import Conflict
from barque.spi.trees.header import show
from barque.spi.trees.syscalls import RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, openat2

__all__ = ["clear"]

_SAME_MOUNT = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS
_ITSELF = os.O_PATH | os.O_NOFOLLOW
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_MAX_DEPTH = 400  # descriptors held at a time


def clear(folder: int, name: bytes) -> None:
    """Remove `name` in the directory `folder`. Errors: Conflict (something is mounted on it or below it), OSError."""
    if not _is_directory(folder, name):
        _unlink(folder, name)
        return
    stack = [(os.dup(folder), [name])]
    try:
        while stack:
            parent, names = stack[-1]
            if not names:
                os.close(stack.pop()[0])
                if stack:
                    _finish(*stack[-1])
                continue
            if _is_directory(parent, names[-1]):
                _enter(stack, parent, names)
            else:
                _unlink(parent, names.pop())
    finally:
        for fd, _ in stack:
            os.close(fd)


def _enter(stack: list[tuple[int, list[bytes]]], parent: int, names: list[bytes]) -> None:
    """Go down into the directory that is the last of `names`. Its own turn comes when it is empty."""
    if len(stack) > _MAX_DEPTH:
        raise Conflict(
            f"{show(names[-1])}: a directory that is replaced is more than {_MAX_DEPTH} levels deep"
        )
    fd = openat2(parent, names[-1], _DIRECTORY, _SAME_MOUNT)
    stack.append((fd, []))
    stack[-1][1].extend(os.fsencode(child) for child in os.listdir(fd))
    if not stack[-1][1]:
        os.close(stack.pop()[0])
        _finish(parent, names)


def _finish(parent: int, names: list[bytes]) -> None:
    """Remove the emptied directory; it is looked at again when somebody filled it meanwhile."""
    try:
        os.rmdir(names[-1], dir_fd=parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise Conflict(f"{show(names[-1])} is filled while it is removed") from None
        raise
    names.pop()


def _is_directory(folder: int, name: bytes) -> bool:
    """Errors: Conflict when something is mounted there: we are in another mount namespace, so the kernel would not refuse."""
    try:
        fd = openat2(folder, name, _ITSELF, _SAME_MOUNT)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise Conflict(
                f"cannot replace {show(name)}: device or resource busy",
                hint="something is mounted there; copy into it, or write to what is mounted",
            ) from None
        raise
    try:
        return stat.S_ISDIR(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def _unlink(folder: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except (FileNotFoundError, IsADirectoryError):
        return  # gone, or another thing by now: who called looks again
