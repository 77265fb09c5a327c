"""Copy-up: a new, empty volume gets what the container's file system has at its place, and the owner and mode of that directory.

All is done by a worker (`worker`), in a view of the container's snapshot from which no link leads out (row S27).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from barque.engine import failpoints
from barque.engine.core import Core
from barque.engine.volumes.rows import Entry
from barque.plugins.facades import StorageDriver
from barque.spi.errors import BarqueError
from barque.spi.frontend import VolumeMount

if TYPE_CHECKING:
    from barque.spi.trees.pool import WorkerPool

__all__ = ["MODULE", "Filler"]

MODULE = "barque.engine.volumes.worker"

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Filler:
    """Fills the volumes of one container, whose snapshot is there. `workers` gives workers of `MODULE`."""

    def __init__(
        self, core: Core, storage: StorageDriver, id: str, workers: Callable[[], WorkerPool]
    ) -> None:
        self._core, self._storage, self._id, self._workers = core, storage, id, workers

    def fill(self, entry: Entry, mount: VolumeMount, *, must_be_directory: bool) -> None:
        """Fill one, if it is empty and to be filled. `must_be_directory`: a file at its place is an error.

        Errors: InvalidArgument (Docker's words), ResourceExhausted, the driver's; then it is empty again."""
        stored = entry.stored
        if stored is None or not mount.copy:
            return
        volumes = self._core.volumes
        with entry.lock:
            path = self._mount(stored.name)
            try:
                fd = os.open(path, _OPEN)
                try:
                    if os.listdir(fd):
                        return
                    volumes.filling(entry)
                    failpoints.hit("volume.fill")
                    self._copy(fd, mount, must_be_directory)
                finally:
                    os.close(fd)
            finally:
                volumes.unmount(stored.name, self._id)

    def _mount(self, name: str) -> str:
        try:
            return self._core.volumes.mount(name, self._id)
        except BarqueError as error:
            raise type(error)(f"failed to populate volume: {error.message}", hint=error.hint) from error

    def _copy(self, fd: int, mount: VolumeMount, must_be_directory: bool) -> None:
        view = {
            "write": False,
            "recursive": False,
            "mounts": [asdict(part) for part in self._storage.mounts(self._id)],
            "place": str(self._core.layout.run / "empty"),
        }
        job = {"view": view, "path": mount.target, "name": mount.name, "strict": must_be_directory}
        self._workers().call(job, (fd,), f"filling volume {mount.name}")
