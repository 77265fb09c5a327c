"""Layers with whiteouts kept by names (`whiteouts.NAMES`), seen as the one tree that a container would see.

Nothing is mounted and nothing copied: a directory of the union is the list of the layers' directories that have part
in it, top first. Only descriptors and single names reach the kernel; no link of a layer is ever followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from barque.spi.trees.whiteouts import OPAQUE, PREFIX

__all__ = [
    "OPEN_DIRECTORY",
    "Visible",
    "close_all",
    "closed_on_error",
    "open_children",
    "open_layers",
    "root_owner",
    "visible",
]

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PREFIX = os.fsdecode(PREFIX)
_META = _PREFIX * 2
_OPAQUE = os.fsdecode(OPAQUE)


@dataclass(slots=True)
class Visible:
    """One name of a directory of the union. `fds` are the layers' directories it is in, top first: one, or, when it is
    a directory itself, all whose directories of that name are merged. `status` is that of the topmost."""

    fds: list[int]
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)


def visible(fds: Sequence[int]) -> dict[str, Visible]:
    """What the directories `fds` (top first) show together."""
    found: dict[str, Visible] = {}
    hidden: set[str] = set()
    for fd in fds:
        names = os.listdir(fd)
        marks = [name for name in names if name.startswith(_PREFIX)]
        for name in names:
            if name not in hidden and not name.startswith(_PREFIX):
                _add(found, hidden, fd, name)
        hidden.update(name[len(_PREFIX) :] for name in marks if not name.startswith(_META))
        if _OPAQUE in marks:
            break
    return found


def _add(found: dict[str, Visible], hidden: set[str], fd: int, name: str) -> None:
    known = found.get(name)
    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        hidden.add(name)  # also below a directory: what is deeper lies below this file
    if known is None:
        found[name] = Visible([fd], status)
    elif name not in hidden:
        known.fds.append(fd)


def root_owner(fds: Sequence[int]) -> tuple[int, int, int]:
    """Mode, owner and group of the root that layers (top first) show: those of the topmost that says something of it; most do not,
    and have what a layer begins with."""
    plain = (stat.S_IFDIR | 0o755, os.geteuid(), os.getegid())
    for fd in fds:
        status = os.fstat(fd)
        if (status.st_mode, status.st_uid, status.st_gid) != plain:
            return status.st_mode, status.st_uid, status.st_gid
    return plain


def open_children(name: str, entry: Visible) -> list[int]:
    """The descriptors of the directory `name`, top first, to be closed by the caller."""
    fds: list[int] = []
    with closed_on_error(fds):
        fds.extend(os.open(name, OPEN_DIRECTORY, dir_fd=fd) for fd in entry.fds)
    return fds


def open_layers(layers_fd: int, digests: Sequence[str]) -> list[int]:
    """The files of the layers, top first. Of a layer that occurs twice the upper one counts."""
    fds: list[int] = []
    with closed_on_error(fds):
        for digest in dict.fromkeys(reversed(digests)):
            layer = os.open(digest, OPEN_DIRECTORY, dir_fd=layers_fd)
            try:
                fds.append(os.open("fs", OPEN_DIRECTORY, dir_fd=layer))
            finally:
                os.close(layer)
    return fds


@contextmanager
def closed_on_error(fds: list[int]) -> Iterator[None]:
    """Close the descriptors that are in the list when the block fails."""
    try:
        yield
    except BaseException:
        close_all(fds)
        raise


def close_all(fds: Iterable[int]) -> None:
    """Close each."""
    for fd in fds:
        os.close(fd)
