"""Images as files: save, load, import."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from barque.engine.core import Core
from barque.engine.images.importing import Importer
from barque.engine.images.pulling import host_platform
from barque.engine.images.saving import Saver
from barque.oci.reference import parse_reference
from barque.plugins.facades import ImageDriver
from barque.spi.common import Platform, Progress, ProgressSink
from barque.spi.content import Image, ImportRequest
from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.image import ImageRequest, ResolvedImage

__all__ = ["Archives"]

_SOURCE = "docker-archive"
_ANY = Platform("", "", "")


class Archives:
    """Images as files. The profile's image source `docker-archive` reads and writes them."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._saver = Saver(core, _SOURCE)
        self._importer = Importer(core)

    def save(self, refs: tuple[str, ...], write: Callable[[bytes], object]) -> None:
        """See `ContentOperations.image_save`."""
        self._saver.save(refs, write)

    def load(self, path: str, progress: ProgressSink) -> tuple[Image, ...]:
        """See `ContentOperations.image_load`. Each image comes whole or not at all; those before one that fails stay."""
        driver = self._core.drivers.image(_SOURCE)
        load = _Load(self._core, driver, progress)
        return tuple(load.one(reference) for reference in driver.list(load.request(path, host_platform())))

    def import_(self, request: ImportRequest, progress: ProgressSink) -> Image:
        """See `ContentOperations.image_import`."""
        return self._importer.run(request, progress)


class _Load:
    """One archive being loaded."""

    def __init__(self, core: Core, driver: ImageDriver, progress: ProgressSink) -> None:
        self._core, self._driver, self._progress = core, driver, progress
        self._held: ResolvedImage | None = None

    def request(self, reference: str, platform: Platform) -> ImageRequest:
        """What to ask the driver for."""
        return ImageRequest(reference, platform, progress=self._told)

    def one(self, reference: str) -> Image:
        """An image that is here already only gets its names: what was pulled is not replaced by what the archive makes of it.
        What is returned has the archive's names alone."""
        resolved, platform = self._resolve(reference)
        names = _names(resolved)
        image_id = f"sha256:{hashlib.sha256(resolved.config).hexdigest()}"
        self._tell_moved(names, image_id)
        image = self._core.images.name(image_id, names, "load")
        if image is None:
            image, _new = self._core.puller.bring(
                self._driver, self.request(reference, platform), lambda _: names, "load"
            )
        return replace(image, names=tuple(map(self._core.images.naming.familiar, names)))

    def _resolve(self, reference: str) -> tuple[ResolvedImage, Platform]:
        """For this host's platform; of what has none for it, the first: `docker load` takes an image for any platform.
        The last one is held until the next came, so that the driver has no reason to close the archive."""
        try:
            platform = host_platform()
            self._held = self._driver.resolve(self.request(reference, platform))
        except NotFound:
            platform = _ANY
            self._held = self._driver.resolve(self.request(reference, platform))
        return self._held, platform

    def _tell_moved(self, names: tuple[str, ...], image_id: str) -> None:
        """Docker's line about each other image that is about to lose a name."""
        moved = (
            (name, image.id) for image in self._core.images.stored() for name in names if name in image.names
        )
        for name, old in moved:
            if old != image_id:
                shown = self._core.images.naming.familiar(name)
                text = f"The image {shown} already exists, renaming the old one with ID {old} to empty string"
                self._progress(Progress("", text))

    def _told(self, line: Progress) -> None:
        """Docker has one word for all that is done with a layer of an archive."""
        if line.status == "Downloading":
            self._progress(Progress(line.id, "Loading layer", line.current, line.total))


def _names(resolved: ResolvedImage) -> tuple[str, ...]:
    """All names, as those of a registry whatever they look like: no archive gives an image a name with a scheme."""
    given = (resolved.name, *resolved.names) if resolved.name else resolved.names
    names = tuple(dict.fromkeys(parse_reference(name).name for name in given))
    if any("@" in name for name in names):
        raise InvalidArgument("an archive cannot name an image by digest")
    return names
