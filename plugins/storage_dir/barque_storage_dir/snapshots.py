"""Snapshots: a directory with a copy of what the layers show together, and what a container made of it.

snapshots/<key>/fs      the container's root
snapshots/<key>/lower/  a symbolic link for each layer, with its hex digits, in order. Made last, so its ctime is the time
                        since when what changes in `fs` is the container's
snapshots/<key>/idmap   a symbolic link with the mount option that shifts owners, if any
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from barque.spi.common import Mount
from barque.spi.errors import NotFound
from barque.spi.storage import Change, ChangeKind, SnapshotPrepare, Usage
from barque.spi.trees import idmap, merge
from barque.spi.trees.failures import disk_error, reported
from barque.spi.trees.layerstore import LayerStore
from barque.spi.trees.merge import Merge
from barque.spi.trees.places import Places, check_diff_id
from barque.spi.trees.pool import WorkerPool
from barque.spi.trees.streaming import stream
from barque.spi.trees.syscalls import syncfs
from barque_storage_dir import compare
from barque_storage_dir.compare import Compare

__all__ = ["SnapshotStore"]

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {"M": ChangeKind.MODIFIED, "A": ChangeKind.ADDED, "D": ChangeKind.DELETED}


class SnapshotStore:
    """The snapshots of `places`. One that has its name is complete: it got it by a rename."""

    def __init__(self, places: Places, layers: LayerStore, workers: int, idle_seconds: float) -> None:
        self._places = places
        self._layers = layers
        self._copying = WorkerPool(merge.MODULE, workers, idle_seconds, places.empty)
        self._comparing = WorkerPool(compare.MODULE, workers, idle_seconds, places.empty)
        self._idmap_works = False

    def prepare(self, request: SnapshotPrepare) -> None:
        """See `storage_prepare`."""
        self._places.snapshot(request.key)
        for layer in request.layers:
            self._layers.files(layer)
        shift = self._shift(request) if request.idmap else ""
        with (
            reported(f"preparing snapshot {request.key}", self._places.root),
            self._places.scratch() as scratch,
        ):
            files = os.path.join(scratch, "fs")
            os.mkdir(files)
            os.chmod(files, 0o755)  # it is `/` of the container, whatever the daemon's umask
            digests = tuple(check_diff_id(layer) for layer in request.layers)
            if digests:
                self._copy(request.key, digests, scratch)
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
        records = os.fsdecode(b"".join(pieces)).split("\0")[:-1]
        return tuple(
            Change(f"/{path}", kind) for path, kind in sorted((r[1:], _KINDS[r[0]]) for r in records)
        )

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

    def _copy(self, key: str, digests: tuple[str, ...], scratch: str) -> None:
        """Have a worker copy the union of the layers to `scratch`/fs, and have it on the disk."""
        links = os.path.join(scratch, "links")
        os.mkdir(links, 0o700)
        paths = (self._places.layers, os.path.join(scratch, "fs"), links)
        with _opened(paths) as fds:
            job = asdict(Merge(digests, self._places.root))
            self._copying.call(job, fds, f"preparing snapshot {key}")
            syncfs(fds[0])
        os.rmdir(links)

    @staticmethod
    def _describe(digests: Sequence[str], scratch: str) -> None:
        """Digests of layers as names in a directory: a path of symbolic links may have 4095 bytes, this has as many as needed."""
        lower = os.path.join(scratch, "lower")
        os.mkdir(lower, 0o700)
        for number, digest in enumerate(digests):
            os.symlink(digest, os.path.join(lower, f"{number:04}"))

    def _compare(self, key: str, write: Callable[[bytes], object], *, tar: bool) -> Mapping[str, Any]:
        directory = self._places.existing_snapshot(key)
        lower = os.path.join(directory, "lower")
        try:
            digests = tuple(os.readlink(os.path.join(lower, name)) for name in sorted(os.listdir(lower)))
            prepared_ns = os.stat(lower).st_ctime_ns
            with _opened((os.path.join(directory, "fs"), self._places.layers)) as fds:
                job = asdict(Compare(digests, prepared_ns, f"snapshot {key}", tar))
                return stream(self._comparing, job, fds, write, f"comparing snapshot {key}")
        except FileNotFoundError:
            raise NotFound(f"no such snapshot: {key}") from None
        except OSError as error:
            raise disk_error(error, f"comparing snapshot {key}", self._places.root) from error


def _link(directory: str, name: str) -> tuple[str, ...]:
    try:
        return (os.readlink(os.path.join(directory, name)),)
    except FileNotFoundError:
        return ()


@contextmanager
def _opened(paths: Sequence[str]) -> Iterator[list[int]]:
    fds: list[int] = []
    try:
        fds.extend(os.open(path, _OPEN_DIRECTORY) for path in paths)
        yield fds
    finally:
        for fd in fds:
            os.close(fd)
