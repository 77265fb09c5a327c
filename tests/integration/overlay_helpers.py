"""Unpacks in the test's own process, without the worker's chroot: what holds here holds by path resolution alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from barque.spi.storage import LayerApply, Usage
from barque.spi.trees.jobs import Unpack
from barque.spi.trees.unpack import unpack


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def unpack_here(
    request: LayerApply, directory: Path, max_entries: int = 100_000, max_bytes: int = 1 << 32
) -> Usage:
    """Unpack into `directory`/fs, as the worker does."""
    job = Unpack(request.diff_id, request.media_type, str(directory), False, max_entries, max_bytes)
    fds = []
    try:
        for name in ("fs", "replaced"):
            (directory / name).mkdir(parents=True)
            fds.append(os.open(directory / name, os.O_RDONLY | os.O_DIRECTORY))
        blob = os.open(request.blob, os.O_RDONLY)
        fds.append(blob)
        with umask(0):
            return unpack(job, blob, fds[0], fds[1])
    finally:
        for fd in fds:
            os.close(fd)
