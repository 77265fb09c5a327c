"""Paths that clients name in containers, resolved as a process in the container would, and never out of its root.

A trailing `/` or `/.` asserts a directory, and follows a link to one; else the last component is what is named, be it a link.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.trees.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, openat2

__all__ = [
    "describe",
    "in_mount",
    "link_target",
    "normalised",
    "opened",
    "path_error",
    "resolve_directory",
    "shown_name",
]

_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_MAX_LINKS = 255


def normalised(path: str) -> str:
    """The absolute path, without `.` and `..` within, its trailing `/` or `/.` kept. Errors: InvalidArgument."""
    if "\0" in path:
        raise InvalidArgument("a path in a container has no NUL")
    clean = "/" + posixpath.normpath("/" + path).lstrip("/")
    if path.endswith("/.") or path == ".":
        return clean.rstrip("/") + "/."
    return clean if clean == "/" or not path.endswith("/") else clean + "/"


def shown_name(path: str) -> str:
    """The last component of a normalised path: `.` of `/a/.`, `a` of `/a/`, `/` of the root."""
    return posixpath.basename(path.rstrip("/")) or "/"


def resolve_directory(root: int, path: str) -> int:
    """A descriptor of the directory `path`, links followed. Errors: OSError."""
    return openat2(root, os.fsencode(path), _DIRECTORY, _RESOLVE)


@contextmanager
def opened(root: int, path: str, ref: str) -> Iterator[tuple[int, str]]:
    """The directory of the last component of the normalised `path`, and that component; empty: the directory itself is meant.

    Errors: NotFound (in Docker's words; `ref` is the container), InvalidArgument.
    """
    directory, _, name = path.rpartition("/")
    if name == ".":
        name = ""
    try:
        fd = resolve_directory(root, directory + "/")
    except OSError as error:
        raise path_error(error, path, ref) from error
    try:
        yield fd, name
    finally:
        os.close(fd)


def path_error(error: OSError, path: str, ref: str) -> Exception:
    """What a failed look at `path` means to who named it."""
    if error.errno == errno.ENOENT:
        return NotFound(f"Could not find the file {path} in container {ref}")
    if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL):
        return InvalidArgument(f"{path}: {(error.strerror or '').lower()}")
    return error


def describe(root: int, path: str, directory: int, name: str) -> dict[str, Any]:
    """The fields of a `PathStat` of what `opened` gave. Errors: OSError."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False) if name else os.fstat(directory)
    return {
        "name": shown_name(path),
        "size": status.st_size,
        "mode": status.st_mode,
        "mtime_ns": status.st_mtime_ns,
        "link_target": link_target(root, path) if stat.S_ISLNK(status.st_mode) else "",
    }


def link_target(root: int, path: str) -> str:
    """Where `path` leads in the container when all links are followed; the rest of it unchanged from where nothing is any more.

    Only text for the client, who asks again with it: that the tree may change meanwhile does no harm.
    """
    found: list[str] = []
    waiting = [part for part in reversed(path.split("/")) if part]
    links = 0
    while waiting:
        part = waiting.pop()
        if part in (".", ".."):
            found = found[:-1] if part == ".." else found
            continue
        target = _read_link(root, "/".join(["", *found, part]))
        if target is None:
            found.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        found = [] if target.startswith("/") else found
        waiting += [piece for piece in reversed(target.split("/")) if piece]
    return "/" + "/".join(found)


def _read_link(root: int, path: str) -> str | None:
    try:
        fd = openat2(root, os.fsencode(path), os.O_PATH | os.O_NOFOLLOW, _RESOLVE)
    except OSError:
        return None
    try:
        return os.readlink("", dir_fd=fd) if stat.S_ISLNK(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def in_mount(root: int, path: str) -> bool:
    """Whether `path` is in something mounted below the root. Errors: OSError."""
    try:
        os.close(openat2(root, os.fsencode(path), os.O_PATH, _RESOLVE | RESOLVE_NO_XDEV))
    except OSError as error:
        if error.errno == errno.EXDEV:
            return True
        raise
    return False
