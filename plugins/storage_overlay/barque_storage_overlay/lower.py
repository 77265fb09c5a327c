"""The layers below a snapshot as overlayfs shows them together, read without mounting anything.

Only names the caller found in a directory reach the kernel, relative to descriptors, and no link is followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from barque.spi.errors import Unavailable
from barque.spi.trees import xattrs
from barque.spi.trees.descent import OPEN_DIRECTORY
from barque.spi.trees.failures import disk_error
from barque.spi.trees.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from barque.spi.trees.views import guarded_view

__all__ = [
    "PLAIN_DIRECTORY",
    "Directory",
    "Found",
    "Lower",
    "capability",
    "is_opaque",
    "is_whiteout",
    "reading",
]

_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OPEN_LAYER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
PLAIN_DIRECTORY = (0o40755, 0, 0)
"""Mode and owner of a directory that nobody said anything of."""
_CAPABILITY = "security.capability"


@dataclass(frozen=True, slots=True)
class Found:
    """What a name shows: its status, and for a directory the layers that are merged in it (top first)."""

    status: os.stat_result
    layers: tuple[int, ...]
    holder: int


class Lower:
    """Layers, top first, by descriptors of their directories, which stay the caller's. `opaque` is the attribute of opaque directories."""

    def __init__(self, fds: Sequence[int], opaque: bytes) -> None:
        self._fds = fds
        self._opaque = opaque

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of all layers, whose roots are merged."""
        return tuple(range(len(self._fds)))

    def root_owner(self) -> tuple[int, int, int]:
        """Mode and owner that a snapshot's root is made with: those of the topmost layer that says something of its root."""
        for fd in self._fds:
            status = os.fstat(fd)
            if (status.st_mode, status.st_uid, status.st_gid) != PLAIN_DIRECTORY:
                return status.st_mode, status.st_uid, status.st_gid
        return PLAIN_DIRECTORY

    @contextmanager
    def directory(self, path: bytes, layers: Sequence[int]) -> Iterator[Directory]:
        """The merged directory `path`, which is known to be one in each of `layers`."""
        fds: list[int] = []
        try:
            fds.extend(self._open(layer, path) for layer in layers)
            yield Directory(fds, layers, self._opaque)
        finally:
            for fd in fds:
                os.close(fd)

    def _open(self, layer: int, path: bytes) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        return openat2(self._fds[layer], path or b".", flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)


class Directory:
    """A directory of the merged layers."""

    def __init__(self, fds: Sequence[int], layers: Sequence[int], opaque: bytes) -> None:
        self._fds = fds
        self._layers = layers
        self._opaque = opaque

    def find(self, name: str) -> Found | None:
        """What `name` shows; None when no layer has it, or one hides it."""
        first: os.stat_result | None = None
        holder = -1
        merged: list[int] = []
        for fd, layer in zip(self._fds, self._layers, strict=True):
            status = _status(fd, name)
            if status is None:
                continue
            if is_whiteout(status) or (first and not stat.S_ISDIR(status.st_mode)):
                break
            if first is None:
                first, holder = status, fd
            if not stat.S_ISDIR(status.st_mode):
                break
            merged.append(layer)
            if self._ends(fd, name):
                break
        return Found(first, tuple(merged), holder) if first else None

    def names(self) -> Iterator[str]:
        """All names that show."""
        seen: set[str] = set()
        for fd in self._fds:
            for name in os.listdir(fd):
                if name not in seen:
                    seen.add(name)
                    status = _status(fd, name)
                    if status and not is_whiteout(status):
                        yield name

    def _ends(self, fd: int, name: str) -> bool:
        """Whether the directory `name` hides those below it."""
        opened = os.open(name, OPEN_DIRECTORY, dir_fd=fd)
        try:
            return is_opaque(opened, self._opaque)
        finally:
            os.close(opened)


@contextmanager
def reading(job: Mapping[str, Any], root_fd: int, upper_fd: int) -> Iterator[tuple[Lower, int]]:
    """The layers of a snapshot, and a view of its upper directory; an OSError of the block leaves as the error it means. Of `job`: `lower`,
    the layers as paths below the driver's root, top first; `user_namespace`, `place`: as for unpacking."""
    fds: list[int] = []
    try:
        # The layers' short names are links of the driver's own making.
        fds.extend(os.open(path, _OPEN_LAYER, dir_fd=root_fd) for path in job["lower"])
        view = guarded_view(upper_fd)
        fds.append(view)
        yield Lower(fds[:-1], xattrs.opaque_attribute(job["user_namespace"])), view
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise Unavailable("nobody reads what the snapshot changed any more") from None
        raise disk_error(error, "reading a snapshot", job["place"]) from error
    finally:
        for fd in fds:
            os.close(fd)


def is_whiteout(status: os.stat_result) -> bool:
    """overlayfs's mark of a deleted name: a character device 0/0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(fd: int, attribute: bytes) -> bool:
    """overlayfs's mark of a directory that hides what is below it."""
    try:
        return os.getxattr(fd, attribute) == b"y"
    except OSError:
        return False  # no such attribute, or a file system without any


def capability(dir_fd: int, name: str) -> bytes:
    """The file capabilities of a regular file, empty when it has none or is gone."""
    try:
        fd = os.open(name, _OPEN_FILE, dir_fd=dir_fd)
    except OSError:
        return b""
    try:
        return os.getxattr(fd, _CAPABILITY)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _status(fd: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
