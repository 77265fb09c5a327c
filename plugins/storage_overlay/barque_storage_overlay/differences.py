"""What snapshots changed: told, and packed as a layer. The walking is done by workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from barque.spi.errors import NotFound
from barque.spi.storage import Change, ChangeKind
from barque.spi.trees import xattrs
from barque.spi.trees.descent import OPEN_DIRECTORY
from barque.spi.trees.failures import reported
from barque.spi.trees.pool import WorkerPool
from barque.spi.trees.streaming import stream
from barque_storage_overlay.layout import Layout

__all__ = ["Differences"]

_KINDS = {"A": ChangeKind.ADDED, "C": ChangeKind.MODIFIED, "D": ChangeKind.DELETED}
_CHANGES = "barque_storage_overlay.changes"
_PACKING = "barque_storage_overlay.packing"
_WORKERS = 8  # a slow reader of a diff holds one


class Differences:
    """Upper directories compared and packed, by workers that live for `idle_seconds` after a job."""

    def __init__(self, layout: Layout, idle_seconds: float) -> None:
        self._layout = layout
        self._user_namespace = xattrs.in_user_namespace()
        self._packers = WorkerPool(_PACKING, _WORKERS, idle_seconds, layout.empty)
        self._comparers = WorkerPool(_CHANGES, _WORKERS, idle_seconds, layout.empty)

    def changes(self, key: str) -> tuple[Change, ...]:
        """See `storage_changes`."""
        gathered: list[bytes] = []
        self._read(key, self._comparers, gathered.append, f"comparing snapshot {key}")
        lines = [line.decode("utf-8", "replace") for line in b"".join(gathered).split(b"\0")[:-1]]
        return tuple(Change(line[1:], _KINDS[line[0]]) for line in sorted(lines, key=lambda line: line[1:]))

    def diff(self, key: str, write: Callable[[bytes], object]) -> None:
        """See `storage_diff`."""
        self._read(key, self._packers, write, f"packing snapshot {key}")

    def _read(self, key: str, pool: WorkerPool, write: Callable[[bytes], object], doing: str) -> None:
        with self._upper(key) as (upper_fd, lower), self._root() as root_fd:
            job = {"lower": lower, "user_namespace": self._user_namespace, "place": self._layout.root}
            stream(pool, job, (root_fd, upper_fd), write, doing)

    @contextmanager
    def _upper(self, key: str) -> Iterator[tuple[int, list[str]]]:
        """The snapshot's upper directory, and its layers, top first, below the driver's root. Errors: NotFound."""
        directory = self._layout.snapshot(key)
        try:
            lower = os.readlink(os.path.join(directory, "lower")).split(":")
            fd = os.open(os.path.join(directory, "upper"), OPEN_DIRECTORY)
        except FileNotFoundError:
            raise NotFound(f"no such snapshot: {key}") from None
        try:
            yield fd, lower
        finally:
            os.close(fd)

    @contextmanager
    def _root(self) -> Iterator[int]:
        with reported("opening the layers", self._layout.root):
            fd = os.open(self._layout.root, OPEN_DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)
