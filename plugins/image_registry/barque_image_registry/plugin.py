"""Driver `registry` of kind `image`: images from Docker Hub and any other OCI registry."""

from __future__ import annotations

import os
from pathlib import Path

from barque.spi import Descriptor, Probe, Problem, hookimpl
from barque.spi.errors import NotFound
from barque.spi.image import (
    BlobSink,
    Credentials,
    Distribution,
    ImageCapability,
    ImagePush,
    ImageRequest,
    ImageSearch,
    ResolvedImage,
    SearchResult,
)
from barque_image_registry.client import RegistryClient
from barque_image_registry.config import RegistryConfig
from barque_image_registry.endpoints import Endpoints
from barque_image_registry.listing import tags
from barque_image_registry.login import login
from barque_image_registry.pull import Puller, PullSource
from barque_image_registry.push import Pusher
from barque_image_registry.retry import RetryPolicy
from barque_image_registry.search import search as search_repositories
from barque_image_registry.throttle import Throttle
from barque_image_registry.transport import Transport

__all__ = ["RegistryConfig", "RegistryImages"]


class RegistryImages:
    """Image source over registries. Keeps nothing on disk: `root` stays empty."""

    Config = RegistryConfig
    capabilities = frozenset(
        {
            ImageCapability.PUSH,
            ImageCapability.LIST,
            ImageCapability.SEARCH,
            ImageCapability.LOGIN,
            ImageCapability.DESCRIBE,
        }
    )

    def __init__(self, name: str, config: RegistryConfig, root: str | os.PathLike[str]) -> None:  # noqa: ARG002
        self.name = name
        self._config = config
        self._transport = Transport(config)
        client = RegistryClient(self._transport, RetryPolicy(config.attempts, config.backoff))
        self._client, self._endpoints = client, Endpoints(config, client)
        self._puller = Puller(client, self._endpoints, Throttle(config.max_bytes_per_second_down))
        self._pusher = Pusher(client, self._endpoints, Throttle(config.max_bytes_per_second_up), config)

    @hookimpl
    def image_probe(self) -> Probe:
        """Whether the configured files are there. Talks to nobody."""
        missing = [
            Problem(f"{field} {path} does not exist", "correct it in the profile")
            for field, path in self._config.files()
            if not Path(path).is_file()
        ]
        return Probe(tuple(missing), {"insecure": " ".join(self._config.insecure_registries)})

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

    @hookimpl
    def image_push(self, request: ImagePush) -> Descriptor:
        """Layers, config, manifest; see `push` and `upload`. Stops within a second after `cancelled()` became true."""
        return self._pusher.push(request)

    @hookimpl
    def image_list(self, request: ImageRequest) -> tuple[str, ...]:
        """All tags of a repository."""
        return tags(self._client, self._endpoints, request)

    @hookimpl
    def image_search(self, search: ImageSearch) -> tuple[SearchResult, ...]:
        """Docker Hub's search, or that of the registry named before the first slash."""
        return search_repositories(self._client, self._endpoints, search)

    @hookimpl
    def image_login(self, server: str, credentials: Credentials) -> str:
        """Whether the registry takes the credentials, and the identity token it gives for them."""
        return login(self._client, self._endpoints, server, credentials)

    @hookimpl
    def image_describe(self, request: ImageRequest) -> Distribution:
        """The descriptor of manifest or index, and its platforms."""
        return self._puller.describe(request)

    def close(self) -> None:
        """Close idle connections. Idempotent; the driver can be used again afterwards."""
        self._transport.close()
