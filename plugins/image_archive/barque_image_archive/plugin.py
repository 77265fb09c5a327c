"""Driver `docker-archive`: one image from a file that `docker save` wrote."""

from __future__ import annotations

from dataclasses import dataclass

from barque.spi import Descriptor, Probe, hookimpl
from barque.spi.image import BlobSink, ImageRequest, ResolvedImage
from barque_image_archive.archive import Archive, copy_layer, open_archive

__all__ = ["DockerArchiveImages"]


@dataclass(frozen=True, slots=True)
class ArchiveConfig:
    """Nothing to set."""


class DockerArchiveImages:
    """`docker-archive:PATH`: the one image in a docker-archive (plain or gzip). Read by offset, never extracted."""

    Config = ArchiveConfig
    capabilities: frozenset[str] = frozenset()

    def __init__(self, name: str, config: ArchiveConfig, root: str) -> None:
        self.name, self.config, self.root = name, config, root

    @hookimpl
    def image_probe(self) -> Probe:
        """Always usable."""
        return Probe()

    @hookimpl
    def image_resolve(self, request: ImageRequest) -> ResolvedImage:
        """Read manifest.json, the config, and the digests of the layers."""
        archive = open_archive(request.reference, self.root)
        return ResolvedImage(
            name=archive.name,
            repository_digest="",
            manifest=archive.manifest,
            manifest_type="application/vnd.docker.distribution.manifest.v2+json",
            config=archive.config,
            layers=tuple(layer.descriptor for layer in archive.layers),
            source=archive,
        )

    @hookimpl
    def image_fetch(self, image: ResolvedImage, layer: Descriptor, sink: BlobSink) -> None:
        """Copy the layer's bytes out of the file."""
        assert isinstance(image.source, Archive)
        copy_layer(image.source, layer, sink)
