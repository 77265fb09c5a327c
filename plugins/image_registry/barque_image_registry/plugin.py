"""Driver `registry` of kind `image`: images from Docker Hub and any other OCI registry."""

from __future__ import annotations

import os
from pathlib import Path

from barque.spi import Descriptor, Probe, Problem, hookimpl
from barque.spi.errors import NotFound
from barque.spi.image import BlobSink, ImageRequest, ResolvedImage
from barque_image_registry.client import RegistryClient
from barque_image_registry.config import RegistryConfig
from barque_image_registry.pull import Puller, PullSource
from barque_image_registry.retry import RetryPolicy
from barque_image_registry.transport import Transport

__all__ = ["RegistryConfig", "RegistryImages"]


class RegistryImages:
    """Image source over registries. Keeps nothing on disk: `root` stays empty."""

    Config = RegistryConfig
    capabilities: frozenset[str] = frozenset()

    def __init__(self, name: str, config: RegistryConfig, root: str | os.PathLike[str]) -> None:  # noqa: ARG002
        self.name = name
        self._config = config
        self._transport = Transport(config)
        client = RegistryClient(self._transport, RetryPolicy(config.attempts, config.backoff))
        self._puller = Puller(self._transport, client, config.mirrors)

    @hookimpl
    def image_probe(self) -> Probe:
        """Whether the configured certificate file is there. Talks to nobody."""
        if self._config.ca_file and not Path(self._config.ca_file).is_file():
            return Probe(
                (Problem(f"ca_file {self._config.ca_file} does not exist", "correct it in the profile"),)
            )
        return Probe(facts={"insecure": " ".join(self._config.insecure_registries)})

    @hookimpl
    def image_resolve(self, request: ImageRequest) -> ResolvedImage:
        """Manifest and config, verified; see `pull`."""
        return self._puller.resolve(request)

    @hookimpl
    def image_fetch(self, image: ResolvedImage, layer: Descriptor, sink: BlobSink) -> None:
        """The bytes of one layer; see `download`. Stops within a second after the pull's `cancelled()` became true."""
        if not isinstance(image.source, PullSource) or layer not in image.layers:
            raise NotFound(f"{image.name} has no layer {layer.digest}")
        self._puller.fetch(image.source, layer, sink)

    def close(self) -> None:
        """Close idle connections. Idempotent; the driver can be used again afterwards."""
        self._transport.close()
