"""Snapshots: a directory with a copy of what the layers show together, and what a container made of it.

snapshots/<key>/fs      the container's root
snapshots/<key>/lower/  a symbolic link for each layer, with its hex digits, in order. Made last, so its ctime is the time
                        since when what changes in `fs` is the container's
snapshots/<key>/idmap   a symbolic link with the mount option that shifts owners, if any
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from barque.spi.common import Mount
from barque.spi.errors import NotFound
from barque.spi.storage import Change, ChangeKind, SnapshotPrepare, Usage
from barque.spi.trees import idmap
from barque.spi.trees.failures import disk_error, reported
from barque.spi.trees.layerstore import LayerStore
from barque.spi.trees.merging import Merger, opened
from barque.spi.trees.places import Places, check_diff_id
from barque.spi.trees.pool import WorkerPool
from barque.spi.trees.streaming import stream
from barque_storage_dir import compare
from barque_storage_dir.compare import Compare

__all__ = ["SnapshotStore"]

_COMPARERS = 8  # a slow reader of a diff holds one
_KINDS = {"M": ChangeKind.MODIFIED, "A": ChangeKind.ADDED, "D": ChangeKind.DELETED}


class SnapshotStore:
    """The snapshots of `places`. One that has its name is complete: it got it by a rename."""

    def __init__(self, places: Places, layers: LayerStore, workers: int, idle_seconds: float) -> None:
        self._places = places
        self._merger = Merger(places, layers, workers, idle_seconds)
        self._comparing = WorkerPool(compare.MODULE, _COMPARERS, idle_seconds, places.empty)
        self._idmap_works = False

    def prepare(self, request: SnapshotPrepare) -> None:
        """See `storage_prepare`."""
        self._places.snapshot(request.key)
        digests = tuple(check_diff_id(layer) for layer in request.layers)
        shift = self._shift(request) if request.idmap else ""
        with (
            reported(f"preparing snapshot {request.key}", self._places.root),
            self._places.scratch() as scratch,
        ):
            self._merger.merge(request.layers, scratch)
            if shift:
                os.symlink(shift, os.path.join(scratch, "idmap"))
            self._describe(digests, scratch)
            self._places.publish_snapshot(scratch, request.key)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """See `storage_mounts`."""
        directory = self._places.existing_snapshot(key)
        return (Mount("bind", os.path.join(directory, "fs"), _link(directory, "idmap")),)

    def changes(self, key: str) -> tuple[Change, ...]:
        """See `storage_changes`."""
        pieces: list[bytes] = []
        self._compare(key, pieces.append, tar=False)
        records = sorted(b"".join(pieces).split(b"\0")[:-1], key=lambda record: record[1:])
        told = (record.decode("utf-8", "replace") for record in records)
        return tuple(Change(f"/{record[1:]}", _KINDS[record[0]]) for record in told)

    def diff(self, key: str, write: Callable[[bytes], object]) -> None:
        """See `storage_diff`."""
        self._compare(key, write, tar=True)

    def usage(self, key: str) -> Usage:
        """What was changed: the copy of the layers is not counted. Errors: NotFound."""
        found = self._compare(key, lambda _: None, tar=False)
        return Usage(found["bytes"], found["inodes"])

    def _shift(self, request: SnapshotPrepare) -> str:
        option = idmap.option(request.idmap)
        if not self._idmap_works:
            idmap.require(self._places.snapshots)
            self._idmap_works = True
        return option

    @staticmethod
    def _describe(digests: Sequence[str], scratch: str) -> None:
        """Digests of layers as names in a directory: a path of symbolic links may have 4095 bytes, this has as many as needed."""
        lower = os.path.join(scratch, "lower")
        os.mkdir(lower, 0o700)
        for number, digest in enumerate(digests):
            os.symlink(digest, os.path.join(lower, f"{number:04}"))

    def _compare(self, key: str, write: Callable[[bytes], object], *, tar: bool) -> Mapping[str, Any]:
        directory = self._places.existing_snapshot(key)
        with ExitStack() as closing:
            try:
                digests, prepared_ns = _layers(directory)
                paths = (os.path.join(directory, "fs"), self._places.layers)
                fds = closing.enter_context(opened(paths))
            except FileNotFoundError:
                raise NotFound(f"no such snapshot: {key}") from None
            except OSError as error:
                raise disk_error(error, f"comparing snapshot {key}", self._places.root) from error
            job = asdict(Compare(digests, prepared_ns, f"snapshot {key}", tar))
            return stream(self._comparing, job, fds, write, f"comparing snapshot {key}")


def _layers(directory: str) -> tuple[tuple[str, ...], int]:
    """The layers of the snapshot in `directory`, and when it was complete."""
    lower = os.path.join(directory, "lower")
    digests = tuple(os.readlink(os.path.join(lower, name)) for name in sorted(os.listdir(lower)))
    return digests, os.stat(lower).st_ctime_ns


def _link(directory: str, name: str) -> tuple[str, ...]:
    try:
        return (os.readlink(os.path.join(directory, name)),)
    except FileNotFoundError:
        return ()
