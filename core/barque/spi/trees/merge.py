"""The job of a worker that copies the union of layers into an empty directory. Descriptors: the directory of all layers, the
directory to fill, an empty one that is used on the way."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from barque.spi.trees.copying import Copier, describe
from barque.spi.trees.failures import disk_error
from barque.spi.trees.union import (
    OPEN_DIRECTORY,
    Visible,
    close_all,
    closed_on_error,
    open_children,
    open_layers,
    root_owner,
    visible,
)
from barque.spi.trees.worker import serve

__all__ = ["MODULE", "Merge", "main", "merge", "raise_descriptor_limit"]

MODULE = "barque.spi.trees.merge"


@dataclass(frozen=True, slots=True)
class Merge:
    """Layers to copy: their hex digits, bottom first. `place` is what error messages call the file system."""

    layers: tuple[str, ...]
    place: str


def main(argument: str) -> None:
    """The worker's entry point."""
    serve(run, argument)


def run(job: Mapping[str, Any], descriptors: Sequence[int]) -> Mapping[str, Any]:
    """`merge` by JSON."""
    raise_descriptor_limit()
    return {"reflinks": merge(Merge(**job), *descriptors)}


def merge(job: Merge, layers_fd: int, target_fd: int, links_fd: int) -> bool:
    """Copy what is visible; whether blocks were shared. Errors: ResourceExhausted."""
    merging = _Merging(links_fd)
    fds = open_layers(layers_fd, job.layers)
    try:
        merging.run(fds, target_fd)
    except OSError as error:
        raise disk_error(error, f"copying {merging.path()!r}", job.place) from error
    return bool(merging.copier.reflinks)


def raise_descriptor_limit() -> None:
    """A deep tree over many layers needs a descriptor for each directory it is in."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(slots=True)
class _Directory:
    """A directory on the way: its parts in the layers, its copy, and what is still to be copied."""

    name: str
    fds: list[int]
    target: int
    left: list[tuple[str, Visible]]


class _Merging:
    """One merge on its way. No recursion: a layer may be 512 directories deep."""

    def __init__(self, links_fd: int) -> None:
        self.copier = Copier()
        self._links_fd = links_fd
        self._links: dict[tuple[int, int], str] = {}
        self._stack: list[_Directory] = []
        self._current = ""

    def path(self) -> str:
        """What is being copied, for a message."""
        return "/".join((*(directory.name for directory in self._stack), self._current))

    def run(self, fds: list[int], target_fd: int) -> None:
        """Copy all below the directories `fds`, which are closed."""
        self._enter("", fds, os.dup(target_fd))
        try:
            while self._stack:
                top = self._stack[-1]
                if not top.left:
                    self._leave()
                    continue
                self._current, entry = top.left.pop()
                if entry.is_directory:
                    self._make(top, self._current, entry)
                else:
                    self._node(top, self._current, entry)
        finally:
            for directory in self._stack:
                _close(directory)
        for number in range(len(self._links)):
            os.unlink(str(number), dir_fd=self._links_fd)

    def _enter(self, name: str, fds: list[int], target: int) -> None:
        directory = _Directory(name, fds, target, [])
        self._stack.append(directory)
        directory.left = sorted(visible(fds).items(), reverse=True)

    def _make(self, parent: _Directory, name: str, entry: Visible) -> None:
        """Make a directory, closed to everybody until all is in it."""
        os.mkdir(name, 0o700, dir_fd=parent.target)
        fds = open_children(name, entry)
        with closed_on_error(fds):
            target = os.open(name, OPEN_DIRECTORY, dir_fd=parent.target)
        self._enter(name, fds, target)

    def _leave(self) -> None:
        directory = self._stack.pop()
        try:
            if self._stack:
                describe(directory.fds[0], directory.target, os.fstat(directory.fds[0]))
            else:
                _describe_root(directory.fds, directory.target)
        finally:
            _close(directory)

    def _node(self, parent: _Directory, name: str, entry: Visible) -> None:
        """Hard links stay together: the first of them has another name in a directory of ours, whatever its path is."""
        status = entry.status
        identity = (status.st_dev, status.st_ino)
        known = self._links.get(identity) if status.st_nlink > 1 else None
        if known is not None:
            os.link(known, name, src_dir_fd=self._links_fd, dst_dir_fd=parent.target, follow_symlinks=False)
            return
        self.copier.copy(entry.fds[0], name, status, parent.target)
        if status.st_nlink > 1:
            known = str(len(self._links))
            os.link(name, known, src_dir_fd=parent.target, dst_dir_fd=self._links_fd, follow_symlinks=False)
            self._links[identity] = known


def _describe_root(fds: list[int], target: int) -> None:
    """Its owner and mode; its time is the copy's own."""
    mode, uid, gid = root_owner(fds)
    os.fchown(target, uid, gid)
    os.fchmod(target, stat.S_IMODE(mode))


def _close(directory: _Directory) -> None:
    close_all((*directory.fds, directory.target))
