"""Driver `docker-archive`: images in one file, as `docker save`, `podman save` and `skopeo` write them, and writing such files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from barque.spi import Descriptor, Probe, hookimpl
from barque.spi.errors import InvalidArgument, Unavailable
from barque.spi.image import BlobSink, ContentReader, ImageCapability, ImageRequest, ResolvedImage, SavedImage

if TYPE_CHECKING:
    from barque_image_archive.contents import Contents
    from barque_image_archive.opening import Archives

__all__ = ["DockerArchiveImages"]


@dataclass(frozen=True, slots=True)
class ArchiveConfig:
    """`max_unpacked_bytes`: what a compressed archive may unpack to (256 GiB)."""

    max_unpacked_bytes: int = 256 << 30


class DockerArchiveImages:
    """`docker-archive:PATH[#IMAGE]`: images in a tar, plain, gzip or zstd: docker-archives of any age, and OCI layouts. IMAGE is a
    name with its tag, or a number from 0. Read by offset, never extracted."""

    Config = ArchiveConfig
    capabilities: frozenset[str] = frozenset({ImageCapability.LIST, ImageCapability.SAVE})

    def __init__(self, name: str, config: ArchiveConfig, root: str) -> None:
        self.name, self.config, self.root = name, config, root

    @cached_property
    def _archives(self) -> Archives:
        from barque_image_archive.opening import (
            Archives,  # a daemon that loads nothing does without the readers
        )

        return Archives(str(self.root), self.config.max_unpacked_bytes)

    @hookimpl
    def image_probe(self) -> Probe:
        """Always usable."""
        return Probe()

    @hookimpl
    def image_list(self, request: ImageRequest) -> tuple[str, ...]:
        """One reference an image, by number."""
        path, selector = _split(request.reference)
        contents = self._contents(path, request)
        self._archives.keep(contents)
        if selector:
            contents.select(selector)
            return (request.reference,)
        return tuple(f"{path}#{number}" for number in range(len(contents.images)))

    @hookimpl
    def image_resolve(self, request: ImageRequest) -> ResolvedImage:
        """The manifest as it was pulled, where the archive has it; else the one a registry would have."""
        path, selector = _split(request.reference)
        contents = self._contents(path, request)
        return contents.resolve(contents.select(selector), request.platform)

    @hookimpl
    def image_fetch(self, image: ResolvedImage, layer: Descriptor, sink: BlobSink) -> None:
        """Copy the layer's bytes out of the file."""
        source: Contents = image.source  # type: ignore[assignment]  # what image_resolve gave
        source.copy(layer, sink)

    @hookimpl
    def image_save(
        self, images: tuple[SavedImage, ...], content: ContentReader, write: Callable[[bytes], object]
    ) -> None:
        """An OCI layout that `docker load` reads too."""
        from barque_image_archive.saving import save

        save(images, content, write)

    def _contents(self, path: str, request: ImageRequest) -> Contents:
        if request.cancelled():
            raise Unavailable("loading was cancelled")
        return self._archives.open(path, request.cancelled)


def _split(reference: str) -> tuple[str, str]:
    """Path and selector. A file whose own name has a `#` is found first."""
    if not reference or "\0" in reference:
        raise InvalidArgument("invalid reference format", hint="write docker-archive:PATH[#NAME:TAG]")
    path, mark, selector = reference.rpartition("#")
    if not mark or not path or os.path.lexists(reference):
        return reference, ""
    return path, f"@{selector}" if selector.isdigit() else selector
