"""The job of a worker that packs trees into a tar. Descriptors: the directory that has them, where the tar goes."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from barque.spi.errors import BarqueError, Internal, NotFound, Unavailable
from barque.spi.trees.packing import Packer
from barque.spi.trees.tarwriter import TarWriter
from barque.spi.trees.views import read_only_view
from barque.spi.trees.worker import serve

__all__ = ["MODULE", "Pack", "main", "pack", "run"]

MODULE = "barque.spi.trees.pack"


@dataclass(frozen=True, slots=True)
class Pack:
    """What to pack. `members` are pairs: a name in the directory (empty: the directory itself) and what the tar calls it (empty: no
    entry of its own, only what is in it); bytes that are not UTF-8 as `os.fsdecode` has them. `one_mount`: nothing that is
    mounted below the directory, and no race for a device; see `read_only_view`, which may refuse. `overlay`, `user_namespace`: as for
    `Packer`. `place` is for errors."""

    members: Sequence[Sequence[str]]
    place: str
    overlay: bool = False
    user_namespace: bool = False
    one_mount: bool = False


def main(argument: str) -> None:
    """The worker's entry point."""
    serve(run, argument)


def run(job: Mapping[str, Any], descriptors: Sequence[int]) -> Mapping[str, Any]:
    """`pack` by JSON."""
    return {"entries": pack(Pack(**job), *descriptors)}


def pack(job: Pack, dir_fd: int, out_fd: int) -> int:
    """Write the tar; the number of its entries. Errors: NotFound, Unavailable (nobody reads any more), InvalidArgument, Internal."""
    try:
        root_fd = read_only_view(dir_fd) if job.one_mount else os.dup(dir_fd)
        try:
            return _pack(job, root_fd, out_fd)
        finally:
            os.close(root_fd)
    except OSError as error:
        raise _explained(error, job.place) from error


def _pack(job: Pack, root_fd: int, out_fd: int) -> int:
    writer = TarWriter(out_fd)
    packer = Packer(writer, overlay=job.overlay, user_namespace=job.user_namespace)
    for name, stored in job.members:
        packer.add(root_fd, name, os.fsencode(stored))
    writer.finish()
    return writer.entries


def _explained(error: OSError, place: str) -> BarqueError:
    reason = error.strerror or str(error)
    if error.errno in (errno.EPIPE, errno.ECONNRESET):
        return Unavailable(f"packing {place}: nobody reads the tar any more")
    if error.errno == errno.ENOENT:
        return NotFound(f"packing {place}: {reason}: {error.filename}")
    return Internal(f"packing {place}: {reason}" + (f": {error.filename!r}" if error.filename else ""))
