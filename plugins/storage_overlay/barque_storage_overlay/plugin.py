"""Driver `overlay`: what it can be told, and its hooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from barque.spi import Mount, Probe, hookimpl
from barque.spi.storage import Change, LayerApply, SnapshotPrepare, StorageCapability, StorageList, Usage
from barque.spi.trees.layerstore import Unpacking
from barque.spi.trees.whiteouts import OVERLAY
from barque_storage_overlay.differences import Differences
from barque_storage_overlay.extras import SnapshotExtras
from barque_storage_overlay.layers import OverlayLayers
from barque_storage_overlay.layout import Layout
from barque_storage_overlay.probe import probe
from barque_storage_overlay.snapshots import SnapshotStore

__all__ = ["OverlayConfig", "OverlayStorage"]


@dataclass(frozen=True, slots=True)
class OverlayConfig:
    """Options of the overlay storage driver.

    workers: processes that unpack layers at the same time; 0 means one a processor.
    worker_idle_seconds: how long such a process waits for another layer before it ends.
    max_entries: a layer with more tar entries is refused.
    max_layer_bytes: a layer with more uncompressed bytes is refused.
    one_owner: layers unpacked from now on belong to the daemon's user altogether. For a rootless daemon without
        subordinate ids, where an image with files of several owners is refused otherwise; programs in a container
        that run as another user than root, or insist on the owner of a file, do not work then.
    """

    workers: int = 0
    worker_idle_seconds: float = 5.0
    max_entries: int = 2_000_000
    max_layer_bytes: int = 1 << 40
    one_owner: bool = False


class OverlayStorage:
    """Layers as plain directories, snapshots as overlayfs mounts over them."""

    Config = OverlayConfig
    capabilities = frozenset(StorageCapability)

    def __init__(self, name: str, config: OverlayConfig, root: str) -> None:
        self.name = name
        self.config = config
        self.root = root
        self._layout = Layout(root)
        unpacking = Unpacking(
            whiteouts=OVERLAY,
            workers=config.workers,
            idle_seconds=config.worker_idle_seconds,
            max_entries=config.max_entries,
            max_bytes=config.max_layer_bytes,
            one_owner=config.one_owner,
        )
        self._layers = OverlayLayers(self._layout, unpacking)
        self._extras = SnapshotExtras(self._layout)
        self._snapshots = SnapshotStore(self._layout, self._layers, self._extras)
        self._differences = Differences(self._layout, config.worker_idle_seconds)

    @hookimpl
    def storage_probe(self) -> Probe:
        return probe(self._layout, self._extras)

    @hookimpl
    def storage_apply(self, request: LayerApply) -> Usage:
        return self._layers.apply(request)

    @hookimpl
    def storage_list(self) -> StorageList:
        for leftover in self._layout.leftovers():
            self._extras.release(leftover)
        self._layout.sweep()
        return StorageList(layers=self._layers.list(), snapshots=self._layout.keys())

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
        return self._differences.changes(key)

    @hookimpl
    def storage_diff(self, key: str, write: Callable[[bytes], object]) -> None:
        self._differences.diff(key, write)

    @hookimpl
    def storage_verify(self, request: LayerApply) -> tuple[str, ...]:
        return self._layers.verify(request)

    @hookimpl
    def storage_remove(self, key: str) -> None:
        self._snapshots.remove(key)

    @hookimpl
    def storage_remove_layer(self, diff_id: str) -> None:
        self._layers.remove(diff_id)
