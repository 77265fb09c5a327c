"""The job of a worker that compares a snapshot with its layers. Descriptors: the snapshot's directory, that of all layers, where
the answer goes: a layer tar, or a list of changes.

A list has a record for each path, ended by NUL: `M`, `A` or `D` and the path. The result tells what was written since the snapshot was
made: `bytes` and `inodes`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from barque.spi.errors import Internal, Unavailable
from barque.spi.trees.merge import raise_descriptor_limit
from barque.spi.trees.tarwriter import TarWriter
from barque.spi.trees.union import open_layers
from barque.spi.trees.views import guarded_view
from barque.spi.trees.whiteouts import OPAQUE, PREFIX
from barque.spi.trees.worker import serve
from barque_storage_dir.differences import Differences

__all__ = ["MODULE", "Compare", "main", "run"]

MODULE = "barque_storage_dir.compare"


@dataclass(frozen=True, slots=True)
class Compare:
    """The snapshot's layers (hex digits, bottom first), the ctime by which it was complete; `tar`: write a layer, not a list."""

    layers: tuple[str, ...]
    prepared_ns: int
    place: str
    tar: bool


def main(argument: str) -> None:
    """The worker's entry point."""
    serve(run, argument)


def run(job: Mapping[str, Any], descriptors: Sequence[int]) -> Mapping[str, Any]:
    """Do one comparison."""
    raise_descriptor_limit()
    wanted = Compare(**job)
    snapshot_fd, layers_fd, out_fd = descriptors
    try:
        if wanted.tar:
            _compare(wanted, snapshot_fd, layers_fd, TarWriter(out_fd))
            return {}
        changes = _ChangeWriter(out_fd)
        _compare(wanted, snapshot_fd, layers_fd, changes, changes.announce)
        return {"bytes": changes.used_bytes, "inodes": changes.used_inodes}
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.ECONNRESET):
            raise Unavailable(f"comparing {wanted.place}: nobody reads the answer any more") from error
        raise Internal(f"comparing {wanted.place}: {error.strerror}: {error.filename!r}") from error


def _compare(
    wanted: Compare,
    snapshot_fd: int,
    layers_fd: int,
    writer: TarWriter,
    announce: Callable[[bool], object] = lambda _: None,
) -> None:
    root_fd = guarded_view(snapshot_fd)
    try:
        Differences(writer, wanted.prepared_ns, announce).run(root_fd, open_layers(layers_fd, wanted.layers))
    finally:
        os.close(root_fd)
    writer.finish()


class _ChangeWriter(TarWriter):
    """Takes what would be entries of a tar and writes which paths changed, and how; counts what was written."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.used_bytes = 0
        self.used_inodes = 0
        self._modified = False

    def announce(self, modified: bool) -> None:
        """What the next entry is: that of a path which the layers have, or of a new one."""
        self._modified = modified

    def directory(
        self, name: bytes, status: os.stat_result, xattrs: Mapping[bytes, bytes] | None = None
    ) -> None:
        """See `TarWriter`."""
        del status, xattrs
        if name != b".":
            self._tell(name, counted=not self._modified)

    def file(
        self, name: bytes, fd: int, status: os.stat_result, xattrs: Mapping[bytes, bytes] | None = None
    ) -> None:
        """See `TarWriter`."""
        del fd, xattrs
        self.used_bytes += status.st_blocks * 512
        self._tell(name)

    def link(self, name: bytes, target: bytes, status: os.stat_result) -> None:
        """See `TarWriter`."""
        del target, status
        self._tell(name, counted=False)

    def symlink(self, name: bytes, target: bytes, status: os.stat_result) -> None:
        """See `TarWriter`."""
        del target, status
        self._tell(name)

    def special(self, name: bytes, status: os.stat_result) -> None:
        """See `TarWriter`; a socket is a change too."""
        del status
        self._tell(name)

    def mark(self, name: bytes) -> None:
        """See `TarWriter`: a path that is gone."""
        parent, slash, base = name.rpartition(b"/")
        if base != OPAQUE:
            self.used_inodes += 1
            self._put(b"D%b%b%b\0" % (parent, slash, base.removeprefix(PREFIX)))

    def finish(self) -> None:
        """The list has no end mark."""
        self.flush()

    def _tell(self, name: bytes, *, counted: bool = True) -> None:
        self._put((b"M%b\0" if self._modified else b"A%b\0") % name)
        self._modified = False
        self.used_inodes += counted
