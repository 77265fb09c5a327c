"""Every byte on the engine's disk, with its owner.

A worker process walks the data root as du(1) does and sums up by the first components of paths; here the sums get their
owners. A storage driver's directory named after a layer (the hex digits of its diff id) or a container's snapshot is that
layer's or snapshot's, wherever it is; so is what the engine put into its own directories. What is left is told by its name.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.spi.content import DiskItem, DiskUsage
from barque.spi.errors import BarqueError, NotFound
from barque.spi.trees import du
from barque.spi.trees.pool import WorkerPool

__all__ = ["Accountant"]

# content/blobs/sha256/HEX, storage/NAME/layers/HEX, containers/ID/log, image/NAME, volume/NAME/VOLUME
_DEPTHS = {"content": 4, "storage": 4, "containers": 3, "image": 2, "volume": 3}
_IDLE_SECONDS = 2.0


class Accountant:
    """Walks the data root and attributes what it finds."""

    def __init__(self, core: Core, containers: ContainerService) -> None:
        self._core, self._containers = core, containers
        self._pool: WorkerPool | None = None

    def usage(self) -> DiskUsage:
        """See `ContentOperations.disk_usage`. The daemon only waits: a worker walks."""
        groups = self._measure()
        ledger = _Ledger(self._owners(), self._running())
        for name, group in sorted(groups.items()):
            ledger.enter(name, group)
        self._ask_driver(ledger)
        items = tuple(sorted(ledger.items(), key=lambda item: (item.kind, item.owner, item.what)))
        stored = self._core.images.stored(retired=True)
        layers = {layer.diff_id: layer.size for image in stored for layer in image.layers}
        return DiskUsage(items, sum(item.bytes for item in items), sum(layers.values()))

    def _ask_driver(self, ledger: _Ledger) -> None:
        """A storage driver that names its directories in its own way is asked for what was not found by name."""
        storage = self._core.drivers.storage()
        for hex in ledger.missing_layers():
            with suppress(NotFound):
                ledger.claim_layer(storage.name, hex, storage.usage(f"sha256:{hex}").bytes)
        for record in self._containers.records():
            if record.id in ledger.found or not record.stored.storage:
                continue
            with suppress(BarqueError):
                size = self._core.drivers.storage(record.stored.storage).usage(record.id).bytes
                ledger.claim_snapshot(record.stored.storage, record.id, size)

    def _measure(self) -> dict[str, du.Group]:
        layout = self._core.layout
        if self._pool is None:
            jail = layout.run / "empty"
            jail.mkdir(mode=0o700, exist_ok=True)
            self._pool = WorkerPool(du.MODULE, 1, _IDLE_SECONDS, os.fspath(jail))
        root_fd = os.open(layout.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        out_fd = os.memfd_create("barque-du", os.MFD_CLOEXEC)
        try:
            self._pool.call({"depths": _DEPTHS}, (root_fd, out_fd), "measuring the data root")
            os.lseek(out_fd, 0, os.SEEK_SET)
            with os.fdopen(os.dup(out_fd), encoding="ascii") as lines:
                return {name: du.Group(*sums) for name, *sums in map(json.loads, lines)}
        finally:
            os.close(root_fd)
            os.close(out_fd)

    def _owners(self) -> _Owners:
        """Who needs which digest and diff id."""
        used = {image_id for _, image_id, _ in self._containers.image_users()}
        owners = _Owners(volumes={volume.name: volume.users for volume in self._core.volumes.all()})
        for image in self._core.images.stored(retired=True):
            for digest in dict.fromkeys(image.blobs):
                owners.blobs[digest[7:]].append(image.id)
            for diff_id in dict.fromkeys(image.diff_ids):
                owners.layers[diff_id[7:]].append(image.id)
            if image.id in used:
                owners.used.add(image.id)
        return owners

    def _running(self) -> Mapping[str, bool]:
        return {record.id: record.running for record in self._containers.records()}


@dataclass(slots=True)
class _Owners:
    """Ids of the images that need a blob or a layer, by hex digits; `used` have containers. `volumes`: who has each volume."""

    blobs: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    layers: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    used: set[str] = field(default_factory=set)
    volumes: Mapping[str, Sequence[str]] = field(default_factory=dict)


class _Ledger:
    """Groups of the walk in, items out. `running` has all containers."""

    def __init__(self, owners: _Owners, running: Mapping[str, bool]) -> None:
        self._owners, self._running = owners, running
        self._items: list[DiskItem] = []
        self._rest: Counter[tuple[str, str, str, bool]] = Counter()
        self.found: set[str] = set()

    def items(self) -> list[DiskItem]:
        """All that was entered."""
        rest = [
            DiskItem(kind, owner, what, size, reclaimable=reclaimable)
            for (kind, owner, what, reclaimable), size in self._rest.items()
            if size or kind == "container"
        ]
        return self._items + rest

    def enter(self, name: str, group: du.Group) -> None:
        """One group."""
        parts = name.split("/")
        size = group.files + group.other
        match parts:
            case ["content", "blobs", "sha256", hex] if not hex.startswith("."):
                self._shared("blob", f"sha256:{hex}", size, self._owners.blobs.get(hex, ()))
            case ["content", "ingest", hex]:
                what = "unfinished content" if hex.startswith(".") else f"sha256:{hex}"
                self._add("partial", "", what, size, reclaimable=True)
            case ["content", *_]:
                self._add("other", "", "content store: directories", size)
            case ["storage", driver, *below]:
                self._storage(driver, below, group)
            case ["containers", id, "log"]:
                self._add("log", id, "log", size, reclaimable=id not in self._running)
            case ["containers", id, *_]:
                self._add("other", id, "state files", size, reclaimable=id not in self._running)
            case ["volume", driver, volume, *_]:
                self._volume(driver, volume, size)
            case ["image", source, *_]:
                self._add("cache", source, f"image source {source}", size, reclaimable=True)
            case [file] if file.startswith("barque.db"):
                self._add("database", "", "metadata", size)
            case ["" | "content" | "storage" | "containers" | "image" | "volume"] | ["volume", _]:
                self._add("other", "", "data root: directories", size)
            case _:
                self._add("other", "", parts[0], size)

    def _storage(self, driver: str, below: Sequence[str], group: du.Group) -> None:
        """A directory of a storage driver."""
        name = below[-1] if below else ""
        size = group.files + group.other
        if name in self._owners.layers or (len(name) == 64 and below[0] == "layers"):
            self._layer(name, size)
        elif name in self._running or (len(below) > 1 and below[0] == "snapshots"):
            self._snapshot(name, group.files)
            gone = name not in self._running
            self._add("other", name, "writable layer: directories", group.other, reclaimable=gone)
        elif below[:1] in (["trash"], ["tmp"]):
            self._add("other", "", f"storage {driver}: {below[0]}", size, reclaimable=True)
        else:
            self._add("other", "", _rest_of(driver), size)

    def _volume(self, driver: str, volume: str, size: int) -> None:
        """A volume, by the name of its directory, or what its driver has beside them."""
        users = self._owners.volumes.get(volume)
        if users is None:
            self._add("other", "", f"volume driver {driver}: {volume}", size)
        else:
            self._add("volume", volume, "volume", size, reclaimable=not users)

    def missing_layers(self) -> list[str]:
        """Hex digits of layers that images need and that no directory is named after."""
        return [hex for hex in self._owners.layers if hex not in self.found]

    def claim_layer(self, driver: str, hex: str, size: int) -> None:
        """`size` bytes of what is left of a driver's directory are a layer's."""
        self._layer(hex, self._taken(driver, size))

    def claim_snapshot(self, driver: str, id: str, size: int) -> None:
        """The same for a container's snapshot."""
        self._snapshot(id, self._taken(driver, size))

    def _taken(self, driver: str, size: int) -> int:
        key = ("other", "", _rest_of(driver), False)
        taken = min(size, self._rest[key])
        self._rest[key] -= taken
        return taken

    def _layer(self, hex: str, size: int) -> None:
        self.found.add(hex)
        self._shared("layer", f"sha256:{hex}", size, self._owners.layers.get(hex, ()))

    def _snapshot(self, id: str, size: int) -> None:
        self.found.add(id)
        self._add("container", id, "writable layer", size, reclaimable=not self._running.get(id, False))

    def _shared(self, kind: str, what: str, size: int, images: Sequence[str]) -> None:
        owner = images[0] if images else ""
        idle = not any(image in self._owners.used for image in images)
        self._items.append(DiskItem(kind, owner, what, size, max(1, len(images)), idle))

    def _add(self, kind: str, owner: str, what: str, size: int, *, reclaimable: bool = False) -> None:
        self._rest[kind, owner, what, reclaimable] += size


def _rest_of(driver: str) -> str:
    return f"storage {driver}: directories and links"
