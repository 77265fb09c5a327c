"""Driver `dir`: what it can be told, and its hooks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from barque.spi import Mount, Probe, hookimpl
from barque.spi.storage import (
    Change,
    LayerApply,
    SnapshotPrepare,
    StorageCapability,
    StorageList,
    Usage,
)
from barque.spi.trees.layerstore import LayerStore, Unpacking
from barque.spi.trees.places import Places
from barque.spi.trees.whiteouts import NAMES
from barque_storage_dir.probe import probe
from barque_storage_dir.snapshots import SnapshotStore

__all__ = ["DirConfig", "DirStorage"]


@dataclass(frozen=True, slots=True)
class DirConfig:
    """Options of the dir storage driver.

    workers: processes that unpack, copy or compare at the same time; 0 means one a processor.
    worker_idle_seconds: how long such a process waits for more work before it ends.
    max_entries: a layer with more tar entries is refused.
    max_layer_bytes: a layer with more uncompressed bytes is refused.
    one_owner: layers unpacked from now on belong to the daemon's user altogether; see the overlay driver.
    """

    workers: int = 0
    worker_idle_seconds: float = 5.0
    max_entries: int = 2_000_000
    max_layer_bytes: int = 1 << 40
    one_owner: bool = False


class DirStorage:
    """Layers as plain directories, snapshots as copies of what they show together: for file systems on which overlayfs cannot work."""

    Config = DirConfig
    capabilities = frozenset({StorageCapability.DIFF, StorageCapability.VERIFY, StorageCapability.IDMAP})

    def __init__(self, name: str, config: DirConfig, root: str) -> None:
        self.name = name
        self.config = config
        self.root = root
        self._places = Places(root)
        workers = config.workers or os.cpu_count() or 1
        unpacking = Unpacking(
            whiteouts=NAMES,
            workers=workers,
            idle_seconds=config.worker_idle_seconds,
            max_entries=config.max_entries,
            max_bytes=config.max_layer_bytes,
            one_owner=config.one_owner,
        )
        self._layers = LayerStore(self._places, unpacking)
        self._snapshots = SnapshotStore(self._places, self._layers, workers, config.worker_idle_seconds)

    @hookimpl
    def storage_probe(self) -> Probe:
        return probe(self._places)

    @hookimpl
    def storage_apply(self, request: LayerApply) -> Usage:
        return self._layers.apply(request)

    @hookimpl
    def storage_list(self) -> StorageList:
        self._places.sweep()
        return StorageList(layers=self._layers.list(), snapshots=self._places.keys())

    @hookimpl
    def storage_prepare(self, request: SnapshotPrepare) -> None:
        self._snapshots.prepare(request)

    @hookimpl
    def storage_mounts(self, key: str) -> tuple[Mount, ...]:
        return self._snapshots.mounts(key)

    @hookimpl
    def storage_usage(self, key: str) -> Usage:
        return self._layers.usage(key) if ":" in key else self._snapshots.usage(key)

    @hookimpl
    def storage_changes(self, key: str) -> tuple[Change, ...]:
        return self._snapshots.changes(key)

    @hookimpl
    def storage_diff(self, key: str, write: Callable[[bytes], object]) -> None:
        self._snapshots.diff(key, write)

    @hookimpl
    def storage_verify(self, request: LayerApply) -> tuple[str, ...]:
        return self._layers.verify(request)

    @hookimpl
    def storage_remove(self, key: str) -> None:
        self._places.remove_snapshot(key)

    @hookimpl
    def storage_remove_layer(self, diff_id: str) -> None:
        self._layers.remove(diff_id)
