"""A whole directory copied into an empty one: files with what they share, hard links, devices, attributes. No link is followed."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass

from barque.spi.trees import tree
from barque.spi.trees.copying import Copier, describe
from barque.spi.trees.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

__all__ = ["copy_directory"]

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_directory(source: int, target: int, *, devices: bool = True) -> None:
    """Copy what is in the directory `source` to the empty directory `target`, which gets its owner, mode and times too.
    Programs may run in `target` meanwhile, and do their worst: they cannot lead the copy out of it.

    Of a failed copy nothing is left. Sockets are left out, and device nodes where the kernel lets us make none (not `devices`).
    Errors: OSError.
    """
    copy = _Copy(devices)
    try:
        copy.run(source, target)
    except BaseException:
        _clear(target)
        raise


@dataclass(slots=True)
class _Step:
    """A directory on the way: its two sides, and the names that are left to copy. `path` is the copy's, below the target."""

    source: int
    target: int
    left: list[str]
    path: str


class _Copy:
    """One copy. No recursion: an image may nest directories without limit."""

    def __init__(self, devices: bool) -> None:
        self._devices = devices
        self._copier = Copier()
        self._links: dict[tuple[int, int], tuple[str, str]] = {}
        self._steps: list[_Step] = []
        self._top = -1

    def run(self, source: int, target: int) -> None:
        """Copy all."""
        self._top = target
        self._enter(os.dup(source), os.dup(target), "")
        try:
            while self._steps:
                step = self._steps[-1]
                if step.left:
                    self._one(step, step.left.pop())
                else:
                    describe(step.source, step.target, os.fstat(step.source))
                    _close(self._steps.pop())
        finally:
            for step in self._steps:
                _close(step)

    def _enter(self, source: int, target: int, path: str) -> None:
        step = _Step(source, target, [], path)
        self._steps.append(step)
        step.left = sorted(os.listdir(source), reverse=True)

    def _one(self, step: _Step, name: str) -> None:
        status = os.stat(name, dir_fd=step.source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=step.target)
            source = os.open(name, _OPEN, dir_fd=step.source)
            try:
                target = os.open(name, _OPEN, dir_fd=step.target)
            except BaseException:
                os.close(source)
                raise
            self._enter(source, target, f"{step.path}{name}/")
        elif not self._linked(step, name, status):
            self._node(step, name, status)

    def _node(self, step: _Step, name: str, status: os.stat_result) -> None:
        mode = status.st_mode
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            self._copier.copy(step.source, name, status, step.target)
        elif stat.S_ISFIFO(mode) or (self._devices and (stat.S_ISCHR(mode) or stat.S_ISBLK(mode))):
            # its mode is right since it is made (a worker has no umask): chmod(2) could be led to another file
            os.mknod(name, mode, status.st_rdev, dir_fd=step.target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=step.target, follow_symlinks=False)
            times = (status.st_atime_ns, status.st_mtime_ns)
            os.utime(name, ns=times, dir_fd=step.target, follow_symlinks=False)

    def _linked(self, step: _Step, name: str, status: os.stat_result) -> bool:
        """A further name of a file that was copied already. A container that has the volume already may have put a link into the
        path of the first one: none is followed."""
        if status.st_nlink < 2:
            return False
        identity = (status.st_dev, status.st_ino)
        first = self._links.setdefault(identity, (step.path, name))
        if first == (step.path, name):
            return False
        path, base = os.fsencode(first[0] or "."), first[1]
        folder = openat2(self._top, path, os.O_PATH | os.O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        try:
            with suppress(FileNotFoundError):  # it was a socket
                os.link(base, name, src_dir_fd=folder, dst_dir_fd=step.target, follow_symlinks=False)
        finally:
            os.close(folder)
        return True


def _close(step: _Step) -> None:
    os.close(step.source)
    os.close(step.target)


def _clear(target: int) -> None:
    """Remove what a failed copy made."""
    for name in os.listdir(target):
        tree.remove(target, name)
