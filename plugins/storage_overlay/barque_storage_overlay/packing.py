"""The job of a worker that packs a snapshot's upper directory as a layer. Descriptors: the driver's root, the upper directory, a
pipe that takes the tar. `job` is as for `changes`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from barque.spi.storage import MOUNTPOINTS
from barque.spi.trees.packing import Left, Packer
from barque.spi.trees.tarwriter import TarWriter
from barque.spi.trees.worker import serve
from barque_storage_overlay.lower import PLAIN_DIRECTORY, Lower, reading

__all__ = ["left_out", "main", "run"]


def main(argument: str) -> None:
    """The worker's entry point."""
    serve(run, argument)


def run(job: Mapping[str, Any], descriptors: Sequence[int]) -> Mapping[str, Any]:
    """Write the layer's tar. Errors: Unavailable (nobody reads it any more), Internal, InvalidArgument."""
    root_fd, upper_fd, out_fd = descriptors
    user_namespace = bool(job["user_namespace"])
    with reading(job, root_fd, upper_fd) as (lower, view):
        writer = TarWriter(out_fd)
        packer = Packer(writer, overlay=True, user_namespace=user_namespace, left=left_out(lower))
        packer.add(view, "", b"")
        writer.finish()
    return {"entries": writer.entries}


def left_out(lower: Lower) -> Left:
    """What was made in the upper directory by preparing and mounting it. Of directories of two components only those in
    `MOUNTPOINTS` are looked at."""
    empty: set[bytes] = set()
    parents = {b"": lower.root_owner()}
    with lower.directory(b"", lower.layers) as top:
        for path in MOUNTPOINTS:
            parent, _, name = path.rpartition("/")
            found = top.find(parent or name)
            if parent and found:
                status = found.status
                parents[os.fsencode(parent)] = (status.st_mode, status.st_uid, status.st_gid)
                with lower.directory(os.fsencode(parent), found.layers) as below:
                    found = below.find(name)
            elif parent:
                parents[os.fsencode(parent)] = PLAIN_DIRECTORY
            if found is None:
                empty.add(os.fsencode(path))
    return Left(frozenset(empty), parents)
