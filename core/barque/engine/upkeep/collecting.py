"""What goes by itself or by `prune`: images by the profile's policy, and everything that nothing needs.

The policy (`[images]`): while blobs and unpacked layers take more than `max_size`, and when they were not used for
`max_age`, images go, those used longest ago first. Never one that a container is made of, and none that came or was used in
the last minutes: who pulls an image wants to run it. Runs behind pulls and once an hour, on a thread of its own.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable

from barque.engine.core import Core
from barque.engine.images.rows import StoredImage
from barque.profiles.quantities import parse_age, parse_size
from barque.shim import kernel
from barque.spi.content import Image, Pruned, Removed
from barque.spi.errors import BarqueError

__all__ = ["Collector"]

_log = logging.getLogger(__name__)
_EVERY = 3600.0
_GRACE_NS = 600 * 1_000_000_000


class Collector:
    """Collects. `grace_ns`: how long an image is safe from the policy after its last use. Thread-safe."""

    def __init__(self, core: Core, every: float = _EVERY, grace_ns: int = _GRACE_NS) -> None:
        self._core = core
        self._every, self._grace_ns = every, grace_ns
        policy = core.drivers.profile.images
        self._max_size = parse_size(policy.max_size)
        self._max_age_ns = int(parse_age(policy.max_age) * 1e9)
        self._partial_max_age = parse_age(policy.partial_max_age)
        self._one = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to work in the background; first what an earlier daemon left."""
        self._core.content.sweep()
        self._thread = threading.Thread(target=self._work, name="collector", daemon=True)
        self._thread.start()

    def nudge(self) -> None:
        """Something changed: collect soon, behind the caller."""
        self._wake.set()

    def close(self) -> None:
        """End, and write down when images were used. Idempotent."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None
        try:
            self._core.images.flush()
        except BarqueError as error:
            _log.warning("when images were used last is not kept: %s", error)

    def run(self) -> Pruned:
        """One round of the policy: what went."""
        with self._one:
            images = self._core.images
            images.flush()
            removed: list[Removed] = []
            freed = images.garbage_collect()
            size = freed.bytes
            if self._partial_max_age:
                size += self._drop_partials(self._partial_max_age)
            for image in self._doomed():
                gone = images.remove_unused(image.id)
                if gone is None:
                    continue
                removed.append(gone)
                freed = images.garbage_collect()
                size += freed.bytes
                _log.info(
                    "image %s (%s) was not used for long and is removed by the profile's policy: %d bytes freed",
                    image.id[7:19],
                    ", ".join(image.names) or "no name",
                    freed.bytes,
                )
            if size and not removed:
                _log.info("freed %d bytes that nothing needed", size)
            return Pruned(tuple(removed), size)

    def prune(self, accepts: Callable[[Image], bool]) -> Pruned:
        """See `ContentOperations.image_prune`. Partial downloads that nobody is at go too."""
        with self._one:
            images = self._core.images
            removed: list[Removed] = []
            freed = images.garbage_collect()
            size = freed.bytes
            for image in images.stored():
                if images.in_use(image.id) or not accepts(images.view(image)):
                    continue
                gone = images.remove_unused(image.id)
                if gone is not None:
                    freed = images.garbage_collect()
                    size += freed.bytes
                    removed.append(Removed(gone.untagged, (*gone.deleted, *freed.layers)))
            size += self._drop_partials(0.0)
        self._core.events.publish("image", "prune", "", {"reclaimed": str(size)})
        return Pruned(tuple(removed), size)

    def _doomed(self) -> list[StoredImage]:
        """Images the policy gives up, in order; each is checked again when its turn comes."""
        images, now = self._core.images, time.time_ns()
        if not self._max_size and not self._max_age_ns:
            return []
        by_use = sorted(images.stored(), key=self._last)
        free = [i for i in by_use if now - self._last(i) > self._grace_ns and not images.in_use(i.id)]
        old = [i for i in free if self._max_age_ns and now - self._last(i) > self._max_age_ns]
        if not self._max_size:
            return old
        gone = {image.id for image in old}
        doomed = list(old)
        for image in free:
            if self._size(without=gone) <= self._max_size:
                break
            if image.id not in gone:
                gone.add(image.id)
                doomed.append(image)
        return doomed

    def _last(self, image: StoredImage) -> int:
        return max(image.pulled_ns, self._core.images.used_ns(image))

    def _size(self, without: set[str]) -> int:
        """Bytes of the blobs and unpacked layers that remain without these images; what images share counts once."""
        layers: dict[str, int] = {}
        blobs: set[str] = set()
        for image in self._core.images.stored():
            if image.id not in without:
                layers.update((layer.diff_id, layer.size) for layer in image.layers)
                blobs.update(image.blobs)
        return sum(layers.values()) + sum(self._blob_size(digest) for digest in blobs)

    def _blob_size(self, digest: str) -> int:
        try:
            return self._core.content.size(digest)
        except BarqueError:
            return 0  # it is missing; `check` tells

    def _drop_partials(self, max_age: float) -> int:
        """Remove what was begun and is older than `max_age` seconds; bytes freed."""
        content = self._core.content
        old = [partial for partial in content.partials() if partial.age >= max_age]
        return sum(partial.bytes for partial in old if content.drop_partial(partial.digest))

    def _work(self) -> None:
        while not self._closed:
            try:
                self.run()
            except Exception:  # noqa: BLE001 - the thread's last resort: told in the log, tried again in an hour
                _log.exception("collecting garbage failed")
            gc.collect()  # what a start or a pull needed once need not stay: the daemon at rest is to be small
            kernel.malloc_trim()
            self._wake.wait(self._every)
            self._wake.clear()
