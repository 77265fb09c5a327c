"""Driver `oci`: images in OCI layouts that are directories (image-spec, image-layout)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from barque.spi import Descriptor, Probe, hookimpl
from barque.spi.errors import InvalidArgument, Unavailable
from barque.spi.image import BlobSink, ImageCapability, ImageRequest, ResolvedImage

if TYPE_CHECKING:
    from barque_image_archive.contents import Contents

__all__ = ["OciLayoutImages"]


@dataclass(frozen=True, slots=True)
class OciConfig:
    """Nothing to set."""


class OciLayoutImages:
    """`oci:PATH[:IMAGE]`: images in a directory with index.json and blobs. IMAGE is a name with its tag, what
    `org.opencontainers.image.ref.name` says, or `@` and a number from 0. No symbolic link below PATH is followed."""

    Config = OciConfig
    capabilities: frozenset[str] = frozenset({ImageCapability.LIST})

    def __init__(self, name: str, config: OciConfig, root: str) -> None:
        self.name, self.config, self.root = name, config, root

    @hookimpl
    def image_probe(self) -> Probe:
        """Always usable."""
        return Probe()

    @hookimpl
    def image_list(self, request: ImageRequest) -> tuple[str, ...]:
        """One reference an image, by number."""
        path, selector = _split(request.reference)
        contents = _contents(path, request)
        if selector:
            contents.select(selector)
            return (request.reference,)
        return tuple(f"{path}:@{number}" for number in range(len(contents.images)))

    @hookimpl
    def image_resolve(self, request: ImageRequest) -> ResolvedImage:
        """The manifest, verified against index.json."""
        path, selector = _split(request.reference)
        contents = _contents(path, request)
        return contents.resolve(contents.select(selector), request.platform)

    @hookimpl
    def image_fetch(self, image: ResolvedImage, layer: Descriptor, sink: BlobSink) -> None:
        """Copy the blob."""
        source: Contents = image.source  # type: ignore[assignment]  # what image_resolve gave
        source.copy(layer, sink)


def _contents(path: str, request: ImageRequest) -> Contents:
    from barque_image_archive.contents import Contents
    from barque_image_archive.files import DirectoryFiles

    if request.cancelled():
        raise Unavailable("loading was cancelled")
    return Contents.read(DirectoryFiles(path), path)


def _split(reference: str) -> tuple[str, str]:
    """Path and selector: the shortest path that is there, or all up to the first colon."""
    if not reference or "\0" in reference:
        raise InvalidArgument("invalid reference format", hint="write oci:DIRECTORY[:NAME:TAG]")
    colons = [at for at, char in enumerate(reference) if char == ":"]
    for at in (*colons, len(reference)):
        if os.path.isdir(reference[:at]):
            return reference[:at], reference[at + 1 :]
    path, _, selector = reference.partition(":")
    return path, selector
