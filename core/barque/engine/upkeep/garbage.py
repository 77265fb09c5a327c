"""What nothing needs any more: layers and blobs without an image, a container or an operation in flight."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from threading import RLock

from barque.engine.drivers import Drivers
from barque.plugins.facades import StorageDriver
from barque.spi.errors import NotFound
from barque.store.content import ContentStore
from barque.store.leases import Lease

__all__ = ["Freed", "Garbage"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Freed:
    """What was removed, and its bytes."""

    layers: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()
    bytes: int = 0


class Garbage:
    """Finds and removes it. `lock` guards the table of images, and `needed()` is what that table needs.

    One thing at a time is checked and removed with the lock of the leases held: nobody waits for more than one rename or unlink.
    """

    def __init__(
        self, drivers: Drivers, content: ContentStore, lock: RLock, needed: Callable[[], Collection[str]]
    ) -> None:
        self._drivers, self._content, self._lock, self._needed = drivers, content, lock, needed

    def find(self, but: Lease | None = None) -> tuple[list[str], list[str]]:
        """Layers and blobs that nothing needs at this moment."""
        layers = self._drivers.storage().list().layers
        blobs = list(self._content.digests())
        with self._lock:
            needed, leases = set(self._needed()), self._content.leases
            return (
                [d for d in layers if d not in needed and not leases.protects(d, but)],
                [d for d in blobs if d not in needed and not leases.protects(d, but)],
            )

    def collect(self, but: Lease | None = None) -> Freed:
        """Remove all of it; what only the lease `but` holds too. Idempotent."""
        candidates, blobs = self.find(but)
        layers, size = [], 0
        pairs = [(self._drivers.storage(), diff_id) for diff_id in candidates]
        for storage in self._drivers.storages_left():
            pairs += [(storage, diff_id) for diff_id in storage.list().layers]
        for storage, diff_id in pairs:
            freed = self._remove_layer(storage, diff_id, but)
            if freed is not None:
                layers.append(diff_id)
                size += freed
        removed = []
        for digest in blobs:
            with suppress(NotFound):
                length = self._content.size(digest)
                if self._remove_blob(digest, but):
                    removed.append(digest)
                    size += length
        return Freed(tuple(layers), tuple(removed), size)

    def _remove_layer(self, storage: StorageDriver, diff_id: str, but: Lease | None) -> int | None:
        """The bytes it had; None when somebody needs it now."""
        leases = self._content.leases
        with self._lock, leases.lock:
            if leases.protects(diff_id, but) or diff_id in self._needed():
                return None
            try:
                size = storage.usage(diff_id).bytes
            except NotFound:
                size = 0
            storage.remove_layer(diff_id)
            return size

    def _remove_blob(self, digest: str, but: Lease | None) -> bool:
        with self._lock:
            return self._content.collect(digest, lambda: digest in self._needed(), but)
