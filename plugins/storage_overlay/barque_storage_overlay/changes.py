"""The job of a worker that compares a snapshot's upper directory with the layers below. Descriptors: the driver's root, the upper
directory, a pipe that takes the changes: `A`, `C` or `D`, the path from `/` on, NUL.

What counts as a change is what `docker diff` says (moby, `pkg/archive`, comparison of two trees): another type, mode, owner or
device number, of anything but directories also another size or time of modification, other file capabilities;
and a directory in which something changed. A file that was written to and looks as before is none.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from barque.spi.storage import MOUNTPOINTS
from barque.spi.trees import xattrs
from barque.spi.trees.descent import OPEN_DIRECTORY, Descent
from barque.spi.trees.packing import is_empty
from barque.spi.trees.worker import serve
from barque_storage_overlay.lower import (
    PLAIN_DIRECTORY,
    Directory,
    Found,
    Lower,
    capability,
    is_opaque,
    is_whiteout,
    reading,
)

__all__ = ["Comparison", "main", "run"]

_GATHERED = 65536
_MOUNTPOINTS = frozenset(map(os.fsencode, MOUNTPOINTS))
_PARENTS = frozenset(path.rpartition(b"/")[0] for path in _MOUNTPOINTS if b"/" in path)
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def main(argument: str) -> None:
    """The worker's entry point."""
    serve(run, argument)


def run(job: Mapping[str, Any], descriptors: Sequence[int]) -> Mapping[str, Any]:
    """Write all changes; `job` is as for `lower.reading`. Errors: Unavailable (nobody reads them any more), Internal."""
    root_fd, upper_fd, out_fd = descriptors
    with reading(job, root_fd, upper_fd) as (lower, view):
        Comparison(lower, xattrs.opaque_attribute(job["user_namespace"]), out_fd).run(os.dup(view))
    return {}


@dataclass(slots=True)
class _Level:
    """A directory of the snapshot: its path, the layers that had it, whether it was told itself, whether anything in it was."""

    path: bytes
    layers: tuple[int, ...]
    told: bool
    changed: bool = False
    waiting: list[tuple[str, tuple[int, ...], bool]] = field(default_factory=list)


class Comparison:
    """Walks the upper directory and writes the changes to `out_fd`, in no particular order."""

    def __init__(self, lower: Lower, opaque: bytes, out_fd: int) -> None:
        self._lower = lower
        self._opaque = opaque
        self._out_fd = out_fd
        self._gathered = bytearray()

    def run(self, upper_fd: int) -> None:
        """Compare it all; `upper_fd` is closed at the end. Errors: OSError."""
        levels: list[_Level] = []
        with Descent() as descent:
            self._enter(descent, levels, upper_fd, _Level(b"", self._lower.layers, told=True))
            while levels:
                level = levels[-1]
                if level.waiting:
                    self._descend(descent, levels, *level.waiting.pop())
                    continue
                levels.pop()
                if not descent.leave():
                    levels[-1].waiting.clear()
                if level.changed and not level.told:
                    self._tell(b"C", level.path)
                if levels:
                    levels[-1].changed |= level.changed
        self._flush()

    def _descend(
        self, descent: Descent, levels: list[_Level], name: str, layers: tuple[int, ...], told: bool
    ) -> None:
        path = _join(levels[-1].path, name)
        try:
            fd = os.open(name, OPEN_DIRECTORY, dir_fd=descent.fd)
        except OSError as error:
            if error.errno not in _VANISHED:
                raise
            return
        self._enter(descent, levels, fd, _Level(path, layers, told))

    def _enter(self, descent: Descent, levels: list[_Level], fd: int, level: _Level) -> None:
        descent.enter(fd, os.fstat(fd))
        levels.append(level)
        names = os.listdir(fd)
        with self._lower.directory(level.path, level.layers) as below:
            for name in names:
                self._compare(fd, name, below, level)
            if is_opaque(fd, self._opaque):
                present = frozenset(names)
                for name in below.names():
                    if name not in present:
                        self._change(level, b"D", name)

    def _compare(self, fd: int, name: str, below: Directory, level: _Level) -> None:
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        old = below.find(name)
        if is_whiteout(status):
            if old:
                self._change(level, b"D", name)
            return
        if old is None and _made_by_mounting(fd, name, status, _join(level.path, name)):
            return
        told = old is None or _differs(fd, name, status, old)
        if told:
            self._change(level, b"C" if old else b"A", name)
        if stat.S_ISDIR(status.st_mode):
            level.waiting.append((name, old.layers if old else (), told))
            level.changed |= told

    def _change(self, level: _Level, kind: bytes, name: str) -> None:
        level.changed = True
        self._tell(kind, _join(level.path, name))

    def _tell(self, kind: bytes, path: bytes) -> None:
        self._gathered += b"%b/%b\0" % (kind, path)
        if len(self._gathered) >= _GATHERED:
            self._flush()

    def _flush(self) -> None:
        rest = memoryview(bytes(self._gathered))
        self._gathered.clear()
        while rest:
            rest = rest[os.write(self._out_fd, rest) :]


def _join(parent: bytes, name: str) -> bytes:
    return parent + b"/" + os.fsencode(name) if parent else os.fsencode(name)


def _made_by_mounting(fd: int, name: str, status: os.stat_result, path: bytes) -> bool:
    """Whether what the layers lack is but a place for one of the engine's mounts, or a directory with nothing else in it."""
    if path in _MOUNTPOINTS:
        return is_empty(fd, name)
    if path not in _PARENTS or (status.st_mode, status.st_uid, status.st_gid) != PLAIN_DIRECTORY:
        return False
    opened = os.open(name, OPEN_DIRECTORY, dir_fd=fd)
    try:
        names = os.listdir(opened)
        return all(_join(path, child) in _MOUNTPOINTS and is_empty(opened, child) for child in names)
    finally:
        os.close(opened)


def _differs(fd: int, name: str, new: os.stat_result, old: Found) -> bool:
    was = old.status
    if (new.st_mode, new.st_uid, new.st_gid, new.st_rdev) != (
        was.st_mode,
        was.st_uid,
        was.st_gid,
        was.st_rdev,
    ):
        return True
    if stat.S_ISDIR(new.st_mode):
        return False
    if (new.st_size, new.st_mtime_ns) != (was.st_size, was.st_mtime_ns):
        return True
    return stat.S_ISREG(new.st_mode) and capability(fd, name) != capability(old.holder, name)
