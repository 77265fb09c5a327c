"""The files of containers, read and written as tars: cp and export.

All work on paths and tars is a worker's (`worker`), on a view of the container's file system (`views`). The view of a
stopped container is made of its snapshot; its lock is held meanwhile, so that it cannot start. A running one may end
in the middle of a copy: the view stays.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from barque.engine.bind_sources import make_source
from barque.engine.core import Core
from barque.engine.files.namespaces import mount_namespace
from barque.engine.networking.etcfiles import EtcFiles
from barque.engine.records import ContainerRecord, StoredContainer
from barque.engine.volumes.attached import ContainerVolumes, has_mounts
from barque.spi.common import Mount
from barque.spi.content import PathStat
from barque.spi.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound

if TYPE_CHECKING:
    from barque.spi.trees.pool import WorkerPool

__all__ = ["ContainerTrees"]

_FRAME = 8  # see `worker.FRAME`; not imported, for that would load all a worker needs
_WORKERS = 16
_IDLE_SECONDS = 5.0
_DEAD = ("removing", "dead")


class ContainerTrees:
    """See `ContentOperations.container_path` and its neighbours. `ref` is what the client calls the container, for messages."""

    def __init__(self, core: Core, volumes: ContainerVolumes) -> None:
        self._core, self._volumes = core, volumes
        self._lock = threading.Lock()
        self._pool: WorkerPool | None = None

    def stat(self, record: ContainerRecord, path: str, ref: str = "") -> PathStat:
        """See `ContentOperations.container_path`."""
        _check_path(path)
        with self._view(record) as (job, fds):
            job |= {"do": "stat", "path": path, "ref": ref or record.id}
            return PathStat(**self._workers().call(job, fds, "looking at a path of a container"))

    def read(
        self,
        record: ContainerRecord,
        path: str,
        begin: Callable[[PathStat], Callable[[bytes], object]],
        ref: str = "",
    ) -> None:
        """See `ContentOperations.container_read`."""
        from barque.spi.trees.streaming import stream

        _check_path(path)
        with self._view(record) as (job, fds):
            job |= {"do": "read", "path": path, "ref": ref or record.id}
            stream(self._workers(), job, fds, _Unframed(begin).write, "reading a container's files")
        self._core.publish(record.stored, "archive-path")

    def write(
        self,
        record: ContainerRecord,
        path: str,
        source: Iterable[bytes],
        *,
        no_overwrite: bool,
        copy_owner: bool,
        ref: str = "",
    ) -> None:
        """See `ContentOperations.container_write`. As dockerd, `copy_owner` gives everything to the container's user, if it has one;
        else the tar's numbers are kept."""
        from barque.spi.trees.streaming import feed

        _check_path(path)
        with self._view(record, write=True) as (job, fds):
            owner = record.stored.config.user if copy_owner else ""
            job |= {"do": "write", "path": path, "ref": ref or record.id}
            job |= {"no_overwrite": no_overwrite, "owner": owner}
            feed(self._workers(), job, fds, source, "writing a container's files")
        self._core.publish(record.stored, "extract-to-dir")

    def export(self, record: ContainerRecord, write: Callable[[bytes], object]) -> None:
        """See `ContentOperations.container_export`."""
        from barque.spi.trees.streaming import stream

        with self._view(record, recursive=False) as (job, fds):
            stream(self._workers(), job | {"do": "export"}, fds, write, "exporting a container")
        self._core.publish(record.stored, "export")

    @contextmanager
    def _view(
        self, record: ContainerRecord, *, write: bool = False, recursive: bool = True
    ) -> Iterator[tuple[dict[str, Any], tuple[int, ...]]]:
        """What a worker needs to open a view: the job so far, and its descriptors. Errors: NotFound, Conflict."""
        request: dict[str, Any] = {"write": write, "recursive": recursive}
        namespace = None
        with ExitStack() as held:
            while not self._holds_stopped(record, held) and namespace is None:
                namespace = mount_namespace(record)
            if namespace is not None:
                held.callback(os.close, namespace)
                yield {"view": request, "view_descriptors": 1}, (namespace,)
            else:
                request |= self._snapshot(record.stored, recursive, held)
                yield {"view": request, "view_descriptors": 0}, ()

    @staticmethod
    def _holds_stopped(record: ContainerRecord, held: ExitStack) -> bool:
        """Whether the container is stopped; then it cannot start while `held` is. Errors: NotFound, Conflict."""
        with ExitStack() as lock:
            lock.enter_context(record.lock)
            if record.removed:
                raise NotFound(f"No such container: {record.id}")
            if record.stored.state.status in _DEAD:
                raise Conflict(
                    f"container {record.id} is {record.stored.state.status}: its files cannot be reached",
                    hint=f"`docker rm {record.id[:12]}` removes it",
                )
            if not record.running:
                held.enter_context(lock.pop_all())
            return not record.running

    def _snapshot(self, stored: StoredContainer, recursive: bool, held: ExitStack) -> dict[str, Any]:
        """The mounts of a stopped container: its snapshot, the engine's files in /etc, its binds, its volumes while `held` is."""
        mounts = [asdict(mount) for mount in self._core.drivers.storage(stored.storage).mounts(stored.id)]
        if recursive:
            volumes = held.enter_context(self._volumes.for_files(stored)) if has_mounts(stored.config) else []
            mounts += _mounted(stored, EtcFiles(self._core.layout.container(stored.id)), volumes)
        return {
            "mounts": mounts,
            "place": str(self._jail()),
            "read_only": stored.config.read_only,
        }

    def _jail(self) -> Path:
        """An empty directory: the workers' root, and where, in namespaces of their own, snapshots are mounted."""
        jail = self._core.layout.run / "empty"
        jail.mkdir(mode=0o700, exist_ok=True)
        return jail

    def _workers(self) -> WorkerPool:
        from barque.spi.trees.pool import WorkerPool

        with self._lock:
            if self._pool is None:
                self._pool = WorkerPool(
                    "barque.engine.files.worker", _WORKERS, _IDLE_SECONDS, str(self._jail())
                )
            return self._pool


class _Unframed:
    """Takes the stat off the beginning of a worker's output, gives it to `begin`, and the rest to what that returns."""

    def __init__(self, begin: Callable[[PathStat], Callable[[bytes], object]]) -> None:
        self._begin = begin
        self._waiting = b""
        self._write: Callable[[bytes], object] | None = None

    def write(self, data: bytes) -> None:
        """The next bytes of the output."""
        if self._write is None:
            self._waiting += data
            data = self._unframed()
        if self._write is not None and data:
            self._write(data)

    def _unframed(self) -> bytes:
        size = int(self._waiting[:_FRAME] or b"0", 16) + _FRAME
        if len(self._waiting) < max(size, _FRAME + 1):
            return b""
        self._write = self._begin(PathStat(**json.loads(self._waiting[_FRAME:size])))
        return self._waiting[size:]


def _check_path(path: str) -> None:
    if not path:
        raise InvalidArgument("bad parameter: path cannot be empty")


def _mounted(
    stored: StoredContainer, files: EtcFiles, volumes: list[tuple[Mount, str]]
) -> list[dict[str, Any]]:
    """What a start would bind into the container, the outer before the inner. Errors: FailedPrecondition."""
    config = stored.config
    taken = {bind.target for bind in config.binds} | {volume.target for volume in config.volumes}
    mounts = [
        Mount("bind", source, ("bind",), target)
        for source, target in files.mounts()
        if target not in taken and os.path.exists(source)
    ]
    for bind in config.binds:
        if bind.create_source:
            make_source(bind.source)
        if not os.path.exists(bind.source):
            raise FailedPrecondition(
                f"bind source path does not exist: {bind.source}", hint="make it, or remove the container"
            )
        options = ("rbind" if bind.recursive else "bind", *(("ro",) if bind.read_only else ()))
        mounts.append(Mount("bind", bind.source, options, bind.target))
    parts = [asdict(mount) for mount in mounts]
    parts += [{**asdict(mount), "subpath": subpath} for mount, subpath in volumes]
    return sorted(parts, key=lambda part: str(part["target"]).rstrip("/").count("/"))
