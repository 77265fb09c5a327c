"""What a container that is being made takes of volumes and images: all of it, or nothing."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from barque.engine.core import Core
from barque.engine.images.layers import prepare_snapshot
from barque.engine.images.rows import StoredImage
from barque.engine.volumes.attached import image_mount_key
from barque.engine.volumes.filling import Filler
from barque.engine.volumes.resolving import resolve_mounts
from barque.engine.volumes.rows import Entry
from barque.plugins.facades import StorageDriver
from barque.spi.frontend import ContainerConfig, VolumeMount, VolumeRequest
from barque.spi.storage import SnapshotPrepare
from barque.store.database import Transaction

if TYPE_CHECKING:
    from barque.spi.trees.pool import WorkerPool

__all__ = ["Claim", "claim_mounts"]


def claim_mounts(
    core: Core, id: str, config: ContainerConfig, declared: Any, other: Callable[[str], ContainerConfig]
) -> Claim:
    """Resolve the mounts of a container and take its volumes, made where there are none. Errors: as of `Engine.container_create`;
    then nothing is left."""
    claim = Claim(core, id, resolve_mounts(config, declared, other))
    try:
        claim.take()
    except BaseException:
        claim.undo()
        raise
    return claim


class Claim:
    """The mounts of one container on its way. `config` has names for all volumes, and ids for images."""

    def __init__(self, core: Core, id: str, config: ContainerConfig) -> None:
        self.config = config
        self._core, self._id = core, id
        self._entries: list[tuple[Entry, VolumeMount, bool]] = []
        self._images: list[StoredImage] = []
        self._held = ExitStack()

    def take(self) -> None:
        """Take volumes and images."""
        volumes = tuple(self._volume(mount) for mount in self.config.volumes)
        for mount in self.config.image_mounts:
            self._images.append(self._held.enter_context(self._core.images.using(mount.image)))
        images = tuple(
            replace(mount, image=image.id)
            for mount, image in zip(self.config.image_mounts, self._images, strict=True)
        )
        self.config = replace(self.config, volumes=volumes, image_mounts=images)

    def _volume(self, mount: VolumeMount) -> VolumeMount:
        anonymous = not mount.name
        name = mount.name or secrets.token_hex(32)
        request = VolumeRequest(name, mount.driver, mount.options, mount.labels)
        entry, made = self._core.volumes.take(request, self._id, anonymous=anonymous)
        self._entries.append((entry, mount, made))
        driver = entry.stored.driver if entry.stored is not None else mount.driver
        return replace(mount, name=name, driver=driver, anonymous=anonymous or mount.anonymous)

    def prepare(self, storage: StorageDriver, workers: Callable[[], WorkerPool]) -> None:
        """When the container's snapshot is there: fill new volumes with what it has at their places (by `workers` of
        `filling.MODULE`), and make the snapshots of mounted images."""
        for number, image in enumerate(self._images):
            request = SnapshotPrepare(image_mount_key(self._id, number), image.diff_ids)
            prepare_snapshot(self._core, image, storage, request)
        filler = Filler(self._core, storage, self._id, workers)
        for (entry, _asked, made), mount in zip(self._entries, self.config.volumes, strict=True):
            filler.fill(entry, mount, must_be_directory=made)

    def settle(self, change: Transaction) -> None:
        """The container is made, when that transaction is."""
        for entry, _mount, _made in self._entries:
            self._core.volumes.settled(entry, change)

    def close(self) -> None:
        """The container is there, and has what it needs itself."""
        self._held.close()

    def undo(self) -> None:
        """Give everything back; what was made for it goes."""
        for entry, _mount, made in self._entries:
            if entry.stored is not None:
                self._core.volumes.release(entry.stored.name, self._id, remove=made)
        self._entries.clear()
        self._held.close()
