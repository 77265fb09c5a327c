"""Images as files: save, load, import."""

from __future__ import annotations

from collections.abc import Callable

from barque.engine.core import Core
from barque.engine.pulling import host_platform
from barque.spi.common import ProgressSink
from barque.spi.content import Image, ImportRequest
from barque.spi.errors import NotImplemented
from barque.spi.image import ImageRequest

__all__ = ["Archives"]


class Archives:
    """Images as files: save, load, import."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def save(self, refs: tuple[str, ...], write: Callable[[bytes], object]) -> None:
        """See `ContentOperations.image_save`."""
        raise NotImplemented("not there yet")

    def load(self, path: str, progress: ProgressSink) -> tuple[Image, ...]:
        """See `ContentOperations.image_load`."""
        request = ImageRequest(path, host_platform(), progress=progress)
        driver = self._core.drivers.image("docker-archive")
        naming = self._core.images.naming
        return (self._core.puller.bring(driver, request, lambda found: naming.given("", found.name), "load")[0],)

    def import_(self, request: ImportRequest, progress: ProgressSink) -> Image:
        """See `ContentOperations.image_import`."""
        raise NotImplemented("not there yet")
