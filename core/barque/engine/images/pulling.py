"""Pulling an image: resolve, fetch and unpack the layers side by side, record."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from barque.engine import failpoints
from barque.engine.drivers import Drivers
from barque.engine.images.diffids import DiffIds
from barque.engine.images.lanes import Lanes
from barque.engine.images.service import ImageService, StoredLayer
from barque.oci.imageconfig import check_image_config
from barque.plugins.facades import ImageDriver, StorageDriver
from barque.spi.common import Descriptor, Platform, Progress, ProgressSink
from barque.spi.content import Image
from barque.spi.errors import InvalidArgument, ResourceExhausted, Unavailable
from barque.spi.image import Credentials, ImageRequest, ResolvedImage
from barque.spi.storage import LayerApply
from barque.store.content import ContentStore
from barque.store.leases import Lease

__all__ = ["Puller"]

_UNPACKING = 2  # layers that may be unpacked or wait for it while `parallel_downloads` others are fetched


class Puller:
    """Brings images in. Thread-safe: equal pulls share blobs and layers. `behind` is called after each that succeeded; what one that
    failed has stays for an hour, for its next try."""

    def __init__(
        self, drivers: Drivers, content: ContentStore, images: ImageService, diff_ids: DiffIds
    ) -> None:
        self._drivers, self._content, self._images, self._diff_ids = drivers, content, images, diff_ids
        self._stopping = threading.Event()
        self._idle = threading.Condition()
        self._active = 0
        self.behind: Callable[[], None] = lambda: None

    def pull(
        self,
        reference: str,
        platform: Platform | None,
        credentials: Credentials | None,
        progress: ProgressSink,
        cancelled: Callable[[], bool],
    ) -> tuple[Image, bool]:
        """See `Engine.image_pull`."""
        scheme, rest = self._images.naming.for_source(reference)
        request = ImageRequest(rest, platform or host_platform(), credentials, progress, cancelled)
        naming = self._images.naming

        def names_for(resolved: ResolvedImage) -> tuple[str, ...]:
            further = (naming.parse(name).name for name in resolved.names)
            return tuple(dict.fromkeys((*naming.given(reference, resolved.name), *further)))

        return self.bring(self._drivers.image(scheme), request, names_for)

    def bring(
        self,
        driver: ImageDriver,
        request: ImageRequest,
        names_for: Callable[[ResolvedImage], tuple[str, ...]],
        event: str = "pull",
    ) -> tuple[Image, bool]:
        """Bring in what `request` finds with `driver`, under the canonical names `names_for` gives it: the image, and whether anything
        new came. `event` is what is published. All or nothing; what a full disk left unfinished is given back."""
        with self._idle:
            self._active += 1
        try:
            brought = self._bring(driver, request, names_for, event)
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()
        self.behind()
        return brought

    def stop(self) -> None:
        """The daemon ends: pulls end as if they were cancelled; what they have stays and is resumed."""
        self._stopping.set()

    def wait(self, seconds: float) -> None:
        """Until no pull is under way, after `stop`; what unpacks longer than that ends with the process."""
        deadline = time.monotonic() + seconds
        with self._idle:
            self._idle.wait_for(lambda: not self._active, max(0.0, deadline - time.monotonic()))

    def _bring(
        self,
        driver: ImageDriver,
        request: ImageRequest,
        names_for: Callable[[ResolvedImage], tuple[str, ...]],
        event: str,
    ) -> tuple[Image, bool]:
        failed, cancelled = threading.Event(), request.cancelled
        request = replace(
            request, cancelled=lambda: failed.is_set() or self._stopping.is_set() or cancelled()
        )
        resolved = driver.resolve(request)
        names = names_for(resolved)
        work = _Pull(driver, resolved, _layers(resolved), request, failed)
        needs = [name for layer, _ in work.layers for name in (layer.diff_id, layer.digest)]
        with self._images.leased(needs) as lease:
            try:
                self._fetch(work)
                failpoints.hit("pull.record")
                layers = [layer for layer, _ in work.layers]
                return self._images.record(resolved, layers, request.platform, names, event)
            except (ResourceExhausted, InvalidArgument):
                self._give_back(work, lease)
                raise

    def _fetch(self, work: _Pull) -> None:
        """All layers that are not here, unpacked in the order they arrive; the first failure stops the others."""
        storage = self._drivers.storage()
        present = set(storage.list().layers)
        parallel = self._drivers.profile.images.parallel_downloads
        downloads = threading.BoundedSemaphore(parallel)
        lanes = Lanes(parallel + _UNPACKING, "pull", work.failed.set)
        seen: set[StoredLayer] = set()
        # what is not unpacked, because it is here or comes from another blob too, is not verified by that
        claims = Counter(layer.diff_id for layer in {layer for layer, _ in work.layers})
        for layer, descriptor in work.layers:
            known = self._diff_ids.known(layer)
            if known and layer.diff_id in present and self._content.has(layer.digest):
                work.say(descriptor, "Already exists")
            elif layer not in seen:
                seen.add(layer)
                work.say(descriptor, "Pulling fs layer")
                check = not known and (layer.diff_id in present or claims[layer.diff_id] > 1)
                lanes.add(self._job(work, layer, descriptor, storage, downloads, check=check))
        errors = lanes.run()
        try:
            if errors:
                raise next((e for e in errors if not isinstance(e, _Stopped)), errors[0])
        finally:
            del errors  # the error's traceback has this frame: they would hold each other, and the archive that is being loaded

    def _job(
        self,
        work: _Pull,
        layer: StoredLayer,
        descriptor: Descriptor,
        storage: StorageDriver,
        downloads: threading.BoundedSemaphore,
        *,
        check: bool,
    ) -> Callable[[], None]:
        def unpack() -> None:
            if check:
                self._diff_ids.check(layer)
            self._unpack(work, layer, descriptor, storage)

        def job() -> None:
            with downloads:
                work.check()
                came = self._download(work, descriptor)
            try:
                unpack()
            except InvalidArgument:
                if came or self._content.intact(descriptor.digest, work.check):
                    raise
                self._content.discard(descriptor.digest)  # it was here, and the disk has damaged it
                self._download(work, descriptor)
                unpack()

        return job

    def _download(self, work: _Pull, descriptor: Descriptor) -> bool:
        """Have the blob; False when it was here."""

        def moved(position: int) -> None:
            work.check()
            work.say(descriptor, "Downloading", position, descriptor.size)

        def waiting() -> None:
            work.check()
            work.say(descriptor, "Waiting")

        with self._content.writing(descriptor.digest, descriptor.size, moved, waiting) as writer:
            if writer is not None:
                work.driver.fetch(work.resolved, descriptor, writer)
                work.say(descriptor, "Verifying Checksum")
        work.say(descriptor, "Download complete")
        return writer is not None

    def _unpack(
        self, work: _Pull, layer: StoredLayer, descriptor: Descriptor, storage: StorageDriver
    ) -> None:
        """Of two pulls that unpack one layer the second waits in the driver, and finds it done."""
        failpoints.hit("pull.unpack")
        work.check()
        work.say(descriptor, "Extracting", descriptor.size, descriptor.size)
        blob = str(self._content.path(descriptor.digest))
        storage.apply(LayerApply(layer.diff_id, blob, descriptor.media_type))
        work.say(descriptor, "Pull complete")

    def _give_back(self, work: _Pull, lease: Lease) -> None:
        """The disk is full, or the image is broken: no later pull goes on with what this one brought."""
        self._images.garbage_collect(but=lease)
        for layer, _ in work.layers:
            self._content.drop_partial(layer.digest, but=lease)


class _Stopped(Unavailable):
    """This layer stopped because another failed, the client left or the daemon ends."""


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
        document = json.loads(config)
        diff_ids = tuple(str(d) for d in document["rootfs"]["diff_ids"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidArgument(
            "the image's config has no rootfs.diff_ids", hint="it is no container image"
        ) from error
    check_image_config(document)
    return diff_ids
