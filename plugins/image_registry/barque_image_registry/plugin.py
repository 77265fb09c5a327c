"""Driver `registry` of kind `image`: images from Docker Hub and any other OCI registry."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from barque.spi import Descriptor, Probe, Problem, hookimpl
from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.image import BlobSink, ImageRequest, ResolvedImage
from barque_image_registry.client import RegistryClient
from barque_image_registry.origin import PlainHttp, parse_url
from barque_image_registry.pull import Puller, PullSource
from barque_image_registry.retry import RetryPolicy
from barque_image_registry.transport import Transport

__all__ = ["RegistryConfig", "RegistryImages"]


@dataclass(frozen=True)
class RegistryConfig:
    """Settings of the `registry` image source.

    insecure_registries: `host`, `host:port` or networks (`10.0.0.0/8`, for literal addresses) that may be talked to over plain HTTP or with a
        certificate nobody verifies. 127.0.0.0/8, ::1 and localhost may use plain HTTP without being listed.
    mirrors: URLs of mirrors of docker.io, asked in this order before it, always without credentials.
    ca_file: PEM file of certificate authorities trusted in addition to the system's; empty: none.
    idle_timeout: seconds without (next to) any data after which a request counts as failed; 1 to 60.
    attempts: how often one request is tried in all; 1 to 5.
    backoff: seconds before the second try; doubled for each further one, with jitter. A server's Retry-After goes before.
    """

    insecure_registries: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    ca_file: str = ""
    idle_timeout: float = 30.0
    attempts: int = 5
    backoff: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.idle_timeout <= 60:
            raise InvalidArgument(f"idle_timeout: {self.idle_timeout:g} is not between 1 and 60 seconds")
        if not 1 <= self.attempts <= 5:
            raise InvalidArgument(f"attempts: {self.attempts} is not between 1 and 5")
        plain = PlainHttp(self.insecure_registries)
        for mirror in self.mirrors:
            origin = parse_url(mirror).origin
            if origin.scheme == "http" and not plain.allows(origin.host, origin.port):
                raise InvalidArgument(
                    f"mirrors: {mirror} is not https", hint="list its host in insecure_registries"
                )


class RegistryImages:
    """Image source over registries. Keeps nothing on disk: `root` stays empty."""

    Config = RegistryConfig
    capabilities: frozenset[str] = frozenset()

    def __init__(self, name: str, config: RegistryConfig, root: str | os.PathLike[str]) -> None:  # noqa: ARG002
        self.name = name
        self._config = config
        plain = PlainHttp(config.insecure_registries)
        self._transport = Transport(plain, config.ca_file, config.idle_timeout)
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
