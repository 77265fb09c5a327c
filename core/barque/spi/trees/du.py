"""The job of a worker that measures a tree as du(1) does: allocated blocks of everything, each inode once, links not followed.

Descriptors: the tree, a file to write to. Sums are told by groups: the first components of the path, so many as `depths` says
for the first of them (1 where it says nothing). One JSON line a group: name, bytes of regular files, bytes of the rest, inodes.
Other file systems mounted in the tree are left out. A tree may be of any depth, and may change meanwhile.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from barque.spi.trees.worker import serve

__all__ = ["MODULE", "Group", "main", "measure", "run"]

MODULE = "barque.spi.trees.du"
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HELD = (
    128  # descriptors of directories above the present one; those above them are found again by their `..`
)


@dataclass(slots=True)
class Group:
    """A part of the tree."""

    files: int = 0
    other: int = 0
    inodes: int = 0


@dataclass(slots=True)
class _Level:
    """A directory on the way: what is left to look at in it, and how to know it again."""

    fd: int
    identity: tuple[int, int]
    name: str
    group: Group
    waiting: list[str]


def main(argument: str) -> None:
    """The worker's entry point."""
    serve(run, argument)


def run(job: Mapping[str, Any], descriptors: Sequence[int]) -> Mapping[str, Any]:
    """`measure` by JSON; the groups go to the second descriptor."""
    groups = measure(descriptors[0], {str(k): int(v) for k, v in job["depths"].items()})
    # in bytes: another encoding than UTF-8 would have to be imported, and there is nothing here to import from
    with os.fdopen(os.dup(descriptors[1]), "wb") as out:
        for name, group in groups.items():
            out.write(json.dumps([name, group.files, group.other, group.inodes]).encode() + b"\n")
    return {"groups": len(groups)}


def measure(root_fd: int, depths: Mapping[str, int]) -> dict[str, Group]:
    """The groups of the tree by their path below it; its own inode is in the group "". Errors: OSError."""
    return _Walk(root_fd, depths).groups


class _Walk:
    def __init__(self, root_fd: int, depths: Mapping[str, int]) -> None:
        self.groups: dict[str, Group] = {}
        self._depths = depths
        self._linked: set[tuple[int, int]] = set()
        self._path: list[_Level] = []
        status = os.fstat(root_fd)
        self._device = status.st_dev
        self._count(self._group(""), status)
        try:
            self._enter(os.open(".", _OPEN, dir_fd=root_fd), "")
            while self._path:
                self._step()
        finally:
            for level in self._path:
                if level.fd >= 0:
                    os.close(level.fd)

    def _group(self, name: str) -> Group:
        return self.groups.setdefault(name, Group())

    def _enter(self, fd: int, name: str) -> None:
        """Go into the directory `fd`: its files are counted at once, its directories wait."""
        status = os.fstat(fd)
        level = _Level(fd, (status.st_dev, status.st_ino), name, self._group(name), [])
        self._path.append(level)
        if len(self._path) > _HELD:
            above = self._path[-_HELD - 1]
            if above.fd >= 0:
                os.close(above.fd)
                above.fd = -1
        level.waiting = [child for child, found in self._children(fd) if self._keep(level, child, found)]

    def _keep(self, level: _Level, child: str, status: os.stat_result) -> bool:
        """Count an entry; whether it is a directory to go into."""
        if status.st_dev != self._device:
            return False
        self._count(self._group(self._below(level.name, child)), status)
        return stat.S_ISDIR(status.st_mode)

    def _below(self, group: str, child: str) -> str:
        """The group of an entry of a directory that is in `group`."""
        depth = len(self._path) - 1
        if depth == 0:
            return child
        return f"{group}/{child}" if depth < self._depths.get(group.partition("/")[0], 1) else group

    def _step(self) -> None:
        level = self._path[-1]
        if not level.waiting:
            self._leave()
            return
        child = level.waiting.pop()
        try:
            fd = os.open(child, _OPEN, dir_fd=level.fd)
        except OSError:
            return  # it went, or became something else
        self._enter(fd, self._below(level.name, child))

    def _leave(self) -> None:
        """Go up; a parent whose descriptor was closed is what `..` is, if nobody has moved us meanwhile."""
        done = self._path.pop()
        if self._path and self._path[-1].fd < 0:
            parent = self._path[-1]
            fd = os.open("..", _OPEN, dir_fd=done.fd)
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == parent.identity:
                parent.fd = fd
            else:
                os.close(fd)
                while self._path and self._path[-1].fd < 0:
                    self._path.pop()
        os.close(done.fd)

    @staticmethod
    def _children(fd: int) -> Iterator[tuple[str, os.stat_result]]:
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    yield entry.name, entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue

    def _count(self, group: Group, status: os.stat_result) -> None:
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            identity = (status.st_dev, status.st_ino)
            if identity in self._linked:
                return
            self._linked.add(identity)
        group.inodes += 1
        if stat.S_ISREG(status.st_mode):
            group.files += status.st_blocks * 512
        else:
            group.other += status.st_blocks * 512
