"""The volumes and mounted images of containers: taken when one is made, mounted while it runs, given back with it.

A container without any never comes here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from barque.engine.core import Core
from barque.engine.records import ContainerRecord, StoredContainer
from barque.spi.common import Mount
from barque.spi.frontend import ContainerConfig, VolumeMount
from barque.store.database import Transaction

if TYPE_CHECKING:
    from barque.engine.volumes.binding import Bound
    from barque.engine.volumes.claims import Claim
    from barque.spi.trees.pool import WorkerPool

__all__ = ["ContainerVolumes", "binds_more", "has_mounts", "image_mount_key", "users_of_volumes"]

_WORKERS = 8
_IDLE_SECONDS = 5.0


def has_mounts(config: ContainerConfig) -> bool:
    """Whether there is anything to do for a resolved configuration: at its start, at its end, when it goes."""
    return bool(config.volumes or config.image_mounts)


def image_mount_key(id: str, number: int) -> str:
    """The storage driver's name of image `number` that the container `id` has mounted."""
    return f"{id}.{number}"


def binds_more(config: ContainerConfig) -> bool:
    """Whether its start has more to mount than the binds that are an entry in its spec."""
    return has_mounts(config) or any(
        bind.propagation not in ("rprivate", "private", "") for bind in config.binds
    )


def users_of_volumes(records: Iterable[ContainerRecord]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The ids of the containers that have each volume, and of those that run."""
    users: dict[str, list[str]] = {}
    running: dict[str, list[str]] = {}
    for record in records:
        for volume in record.stored.config.volumes:
            users.setdefault(volume.name, []).append(record.id)
            if record.running:
                running.setdefault(volume.name, []).append(record.id)
    return users, running


class ContainerVolumes:
    """What the services of containers ask about volumes. Thread-safe; for one container its record's lock is held."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._pool: WorkerPool | None = None

    def claim(
        self, id: str, config: ContainerConfig, declared: Any, other: Callable[[str], ContainerConfig]
    ) -> Claim | None:
        """Resolve and take the mounts of a container that is being made; None when it has none. See `claims.claim_mounts`."""
        if not (config.volumes or config.volumes_from or config.image_mounts or declared):
            return None
        from barque.engine.volumes.claims import claim_mounts

        return claim_mounts(self._core, id, config, declared, other)

    def workers(self) -> WorkerPool:
        """Those that fill volumes."""
        from barque.engine.volumes.filling import MODULE
        from barque.spi.trees.pool import WorkerPool

        with self._lock:
            if self._pool is None:
                jail = self._core.layout.run / "empty"
                jail.mkdir(mode=0o700, exist_ok=True)
                self._pool = WorkerPool(MODULE, _WORKERS, _IDLE_SECONDS, os.fspath(jail))
            return self._pool

    def bind(self, stored: StoredContainer) -> Bound:
        """Have the mounts of a container that starts ready: what its spec and its shim need. `unmount` undoes it, also when this fails."""
        from barque.engine.volumes.binding import bind_mounts

        return bind_mounts(self._core, stored)

    def mounted(self, stored: StoredContainer) -> None:
        """It runs: tell so."""
        for volume in stored.config.volumes:
            self._core.volumes.told(
                volume.name,
                "mount",
                container=stored.id,
                destination=volume.target,
                propagation=volume.propagation,
                **{"read/write": "false" if volume.read_only else "true"},
            )

    def unmount(self, stored: StoredContainer, *, told: bool = True) -> None:
        """It runs no more. Idempotent, but for the events."""
        for volume in stored.config.volumes:
            self._core.volumes.unmount(volume.name, stored.id)
            if told:
                self._core.volumes.told(volume.name, "unmount", container=stored.id)

    def forget(self, stored: StoredContainer, *, anonymous: bool) -> None:
        """Delete the container's row and, at once with it, note that those volumes are to go that `release` will remove."""

        def work(change: Transaction) -> None:
            change.delete("containers", stored.id)
            for volume in stored.config.volumes if anonymous else ():
                if volume.anonymous:
                    self._core.volumes.doom(volume.name, stored.id, change)

        self._core.database.freeing(work)

    def release(self, stored: StoredContainer, *, anonymous: bool) -> None:
        """It is gone; with `anonymous` those volumes go that it did not name and nobody else has."""
        for volume in stored.config.volumes:
            self._core.volumes.release(volume.name, stored.id, remove=anonymous and volume.anonymous)
        for mount in stored.config.image_mounts:
            self._core.images.released(mount.image)

    def free_images(self, stored: StoredContainer) -> None:
        """Free the snapshots of its mounted images. Idempotent."""
        for number in range(len(stored.config.image_mounts)):
            self._core.drivers.storage(stored.storage).remove(image_mount_key(stored.id, number))

    def paths(self, config: ContainerConfig) -> Mapping[str, str]:
        """Where its volumes are on the host, by target."""
        return {volume.target: self._core.volumes.path(volume.name) for volume in config.volumes}

    @contextmanager
    def for_files(self, stored: StoredContainer) -> Iterator[list[tuple[Mount, str]]]:
        """The mounts of a container that does not run, for a view of its files: each with the path below its source that is meant."""
        with ExitStack() as held:
            yield [self._for_files(stored.id, volume, held) for volume in stored.config.volumes]

    def _for_files(self, id: str, volume: VolumeMount, held: ExitStack) -> tuple[Mount, str]:
        path = self._core.volumes.mount(volume.name, id)
        held.callback(self._core.volumes.unmount, volume.name, id)
        options = ("rbind", *(("ro",) if volume.read_only else ()))
        return Mount("bind", path, options, volume.target), volume.subpath
