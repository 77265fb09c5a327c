"""Layers with whiteouts kept by names, copied together into one directory by worker processes (see `merge`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from barque.spi.trees import merge
from barque.spi.trees.failures import reported
from barque.spi.trees.layerstore import LayerStore
from barque.spi.trees.places import Places, check_diff_id
from barque.spi.trees.pool import WorkerPool
from barque.spi.trees.syscalls import syncfs
from barque.spi.trees.union import OPEN_DIRECTORY

__all__ = ["Merger", "opened"]


class Merger:
    """At most `workers` copies at a time. Thread-safe."""

    def __init__(self, places: Places, layers: LayerStore, workers: int, idle_seconds: float) -> None:
        self._places = places
        self._layers = layers
        self._pool = WorkerPool(merge.MODULE, workers, idle_seconds, places.empty)

    def merge(self, diff_ids: Sequence[str], scratch: str) -> None:
        """Make the directory `scratch`/fs, copy into it what the layers (bottom first) show together, and have it on the disk.

        Blocks are shared where the file system can. Errors: InvalidArgument, NotFound (a layer is missing), ResourceExhausted.
        """
        for diff_id in diff_ids:
            self._layers.files(diff_id)
        files, links = os.path.join(scratch, "fs"), os.path.join(scratch, "links")
        with reported("copying layers", self._places.root):
            os.mkdir(files)
            os.chmod(files, 0o755)  # it is `/` of a container, whatever the daemon's umask
            if not diff_ids:
                return
            os.mkdir(links, 0o700)
            job = merge.Merge(tuple(map(check_diff_id, diff_ids)), self._places.root)
            with opened((self._places.layers, files, links)) as fds:
                self._pool.call(asdict(job), fds, "copying layers")
                syncfs(fds[0])
            os.rmdir(links)


@contextmanager
def opened(paths: Sequence[str]) -> Iterator[list[int]]:
    """Descriptors of these directories, for the block."""
    fds: list[int] = []
    try:
        fds.extend(os.open(path, OPEN_DIRECTORY) for path in paths)
        yield fds
    finally:
        for fd in fds:
            os.close(fd)
