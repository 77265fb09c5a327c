"""Is a blob the layer an image says it is? Unpacking tells; of a layer that is here already, nothing is unpacked.

An image may claim any diff id for any blob. Whoever believed it would give a layer of others that blob: pushed and saved with it.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from barque.engine.images.rows import StoredLayer
from barque.engine.images.service import ImageService
from barque.spi.errors import InvalidArgument
from barque.store.content import ContentStore

if TYPE_CHECKING:
    from barque.spi.trees.pool import WorkerPool

__all__ = ["DiffIds"]

_INFLATE = (
    "barque.spi.trees.inflate"  # not imported: it loads all decompressors, which the worker alone needs
)
_WORKERS = 2
_IDLE_SECONDS = 2.0


class DiffIds:
    """Checks blobs of the store. `jail`: an empty directory, made when it is missing. Thread-safe."""

    def __init__(self, content: ContentStore, images: ImageService, jail: Path) -> None:
        self._content, self._images, self._jail = content, images, jail
        self._lock = threading.Lock()
        self._workers: WorkerPool | None = None

    def known(self, layer: StoredLayer) -> bool:
        """Whether the blob is a plain tar by its digest, or an image that is stored has this layer from this blob."""
        pair = (layer.digest, layer.diff_id)
        return layer.digest == layer.diff_id or any(
            (one.digest, one.diff_id) == pair
            for image in self._images.stored(retired=True)
            for one in image.layers
        )

    def check(self, layer: StoredLayer) -> None:
        """Decompress the blob and compare. Errors: InvalidArgument (it is another layer's, or damaged)."""
        fd = os.open(self._content.path(layer.digest), os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = self._pool().call({}, (fd,), "verifying a layer")["digest"]
        finally:
            os.close(fd)
        if found != layer.diff_id:
            raise InvalidArgument(
                f"wrong diff id: the layer should be {layer.diff_id}, its content is {found}",
                hint="the image is broken or hostile",
            )

    def _pool(self) -> WorkerPool:
        from barque.spi.trees.pool import WorkerPool

        with self._lock:
            if self._workers is None:
                self._jail.mkdir(mode=0o700, exist_ok=True)
                self._workers = WorkerPool(_INFLATE, _WORKERS, _IDLE_SECONDS, os.fspath(self._jail))
            return self._workers
