"""Pulling an image: resolve, fetch and unpack the layers side by side, record."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from barque.engine import failpoints
from barque.engine.drivers import Drivers
from barque.engine.images import ImageService, StoredLayer
from barque.plugins.facades import ImageDriver, StorageDriver
from barque.spi.common import Descriptor, Platform, Progress, ProgressSink
from barque.spi.content import Image
from barque.spi.errors import BarqueError, InvalidArgument, ResourceExhausted, Unavailable
from barque.spi.image import Credentials, ImageRequest, ResolvedImage
from barque.spi.storage import LayerApply
from barque.store.content import ContentStore

__all__ = ["Puller"]

_PARALLEL_LAYERS = 3


class Puller:
    """Brings images in. Thread-safe: equal pulls share blobs and layers."""

    def __init__(self, drivers: Drivers, content: ContentStore, images: ImageService) -> None:
        self._drivers, self._content, self._images = drivers, content, images

    def pull(
        self,
        reference: str,
        platform: Platform | None,
        credentials: Credentials | None,
        progress: ProgressSink,
        cancelled: Callable[[], bool],
    ) -> tuple[Image, bool]:
        """See `Engine.image_pull`."""
        scheme, rest = self._images.naming.split_scheme(reference)
        request = ImageRequest(rest, platform or host_platform(), credentials, progress, cancelled)
        naming = self._images.naming
        return self.bring(
            self._drivers.image(scheme), request, lambda resolved: naming.given(reference, resolved.name)
        )

    def bring(
        self,
        driver: ImageDriver,
        request: ImageRequest,
        names_for: Callable[[ResolvedImage], tuple[str, ...]],
        event: str = "pull",
    ) -> tuple[Image, bool]:
        """Bring in what `request` finds with `driver`, under the canonical names `names_for` gives it: the image, and whether anything
        new came. `event` is what is published. All or nothing; what a full disk left unfinished is given back."""
        failed, cancelled = threading.Event(), request.cancelled
        request = replace(request, cancelled=lambda: failed.is_set() or cancelled())
        resolved = driver.resolve(request)
        names = names_for(resolved)
        work = _Pull(driver, resolved, _layers(resolved), request, failed)
        with self._images.leased([layer.diff_id for layer, _ in work.layers]):
            try:
                self._fetch(work)
                failpoints.hit("pull.record")
                layers = [layer for layer, _ in work.layers]
                return self._images.record(resolved, layers, request.platform, names, event)
            except ResourceExhausted:
                self._give_back(work)
                raise

    def _fetch(self, work: _Pull) -> None:
        """All layers that are not here; the first failure stops the others."""
        storage = self._drivers.storage()
        present = set(storage.list().layers)
        jobs: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(_PARALLEL_LAYERS, thread_name_prefix="pull") as pool:
            for layer, descriptor in work.layers:
                if layer.diff_id in present:
                    work.say(descriptor, "Already exists")
                elif layer.diff_id not in jobs:
                    work.say(descriptor, "Pulling fs layer")
                    jobs[layer.diff_id] = pool.submit(self._fetch_layer, work, layer, descriptor, storage)
            errors = [error for error in (work.outcome(job) for job in jobs.values()) if error]
        if errors:
            raise next((e for e in errors if not isinstance(e, _Stopped)), errors[0])

    def _fetch_layer(
        self, work: _Pull, layer: StoredLayer, descriptor: Descriptor, storage: StorageDriver
    ) -> None:
        def moved(position: int) -> None:
            work.check()
            work.say(descriptor, "Downloading", position, descriptor.size)

        try:
            with self._content.writing(descriptor.digest, descriptor.size, moved, work.check) as writer:
                if writer is not None:
                    work.driver.fetch(work.resolved, descriptor, writer)
            work.say(descriptor, "Verifying Checksum")
            work.say(descriptor, "Download complete")
            failpoints.hit("pull.unpack")
            work.check()
            work.say(descriptor, "Extracting", descriptor.size, descriptor.size)
            blob = str(self._content.path(descriptor.digest))
            storage.apply(LayerApply(layer.diff_id, blob, descriptor.media_type))
            work.say(descriptor, "Pull complete")
        except BarqueError:
            work.failed.set()
            raise

    def _give_back(self, work: _Pull) -> None:
        """The disk is full: what this pull brought and no image uses must not keep it so."""
        self._images.collect(unleased=[layer.diff_id for layer, _ in work.layers])
        for layer, _ in work.layers:
            if not self._images.uses_blob(layer.digest):
                self._content.remove(layer.digest)


class _Stopped(Unavailable):
    """This layer stopped because another failed or the client left."""


@dataclass(frozen=True, slots=True)
class _Pull:
    """One pull on its way."""

    driver: ImageDriver
    resolved: ResolvedImage
    layers: list[tuple[StoredLayer, Descriptor]]
    request: ImageRequest
    failed: threading.Event

    def say(self, descriptor: Descriptor, status: str, current: int = 0, total: int = 0) -> None:
        """A progress line of one layer, under its short digest."""
        self.request.progress(Progress(descriptor.digest[7:19], status, current, total))

    def check(self) -> None:
        """Raise when the pull is to stop."""
        if self.request.cancelled():
            raise _Stopped("the pull was cancelled")

    @staticmethod
    def outcome(job: Future[None]) -> BarqueError | None:
        """Wait for a layer; its error, if any."""
        try:
            job.result()
        except BarqueError as error:
            return error
        return None


def host_platform() -> Platform:
    """The platform of this host, in OCI's words."""
    import platform as facts

    machine = facts.machine()
    names = {
        "x86_64": ("amd64", ""),
        "aarch64": ("arm64", "v8"),
        "armv7l": ("arm", "v7"),
        "i686": ("386", ""),
    }
    architecture, variant = names.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def _layers(resolved: ResolvedImage) -> list[tuple[StoredLayer, Descriptor]]:
    diff_ids = _diff_ids(resolved.config)
    if len(diff_ids) != len(resolved.layers):
        raise InvalidArgument(
            f"image {resolved.name}: {len(resolved.layers)} layers in the manifest, {len(diff_ids)} diff ids in the config",
            hint="the image is broken at its source",
        )
    pairs = zip(resolved.layers, diff_ids, strict=True)
    return [(StoredLayer(descriptor.digest, diff_id, 0), descriptor) for descriptor, diff_id in pairs]


def _diff_ids(config: bytes) -> tuple[str, ...]:
    try:
        return tuple(str(d) for d in json.loads(config)["rootfs"]["diff_ids"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidArgument(
            "the image's config has no rootfs.diff_ids", hint="it is no container image"
        ) from error
