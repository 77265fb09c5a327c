"""Kind `image`: where images come from. Entry-point group `barque.image.v1`.

A reference with a scheme (`deb:bash`) goes to the source of that name in the profile, any other to the profile's
default source. The engine asks `image_resolve` once, then `image_fetch` for every layer it does not have,
several at once, streams each into its content store (which verifies digest and size while writing), unpacks,
and records the image. A source holds no state the engine depends on.

Hooks run in the daemon, on any thread. A driver is a class with a frozen stdlib dataclass `Config`, constructed as
`Driver(name, config, root)`: `root` is a directory (0700) for caches of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from barque.spi.common import Descriptor, Platform, Probe, Progress

__all__ = ["BlobSink", "Credentials", "ImageHooks", "ImageRequest", "ResolvedImage"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What `docker login` would send for one registry. Never logged: repr hides the secrets."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What to resolve. `reference` as the user wrote it less the scheme (`alpine`, `ghcr.io/a/b:1`, `bash,coreutils@bookworm`).
    `progress` takes lines for the user; `cancelled()` is asked now and then, and True means: stop with Unavailable."""

    reference: str
    platform: Platform
    credentials: Credentials | None = None
    progress: Callable[[Progress], None] = lambda _: None
    cancelled: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """One image for one platform. `name` is the canonical repository and tag (`docker.io/library/alpine:latest`, or the name by digest,
    or `deb:bash@bookworm`); `repository_digest` what a later pull by digest would name (index digest where there is one; empty if none).
    `manifest` and `config` are the exact bytes; `layers` the manifest's layer descriptors, bottom first.
    `source` is the driver's own (a frozen value it wants back in `image_fetch`)."""

    name: str
    repository_digest: str
    manifest: bytes
    manifest_type: str
    config: bytes
    layers: tuple[Descriptor, ...]
    source: object = None


class BlobSink(Protocol):
    """Where `image_fetch` writes. `offset` bytes are there already (an earlier, interrupted fetch); a driver that
    cannot resume calls `restart()` first. `write` raises when the blob is wrong or the pull was cancelled: let it pass.
    """

    @property
    def offset(self) -> int: ...
    def restart(self) -> None: ...
    def write(self, data: bytes | memoryview, /) -> None: ...


class ImageHooks:
    """The hooks of kind `image`."""

    def image_probe(self) -> Probe:
        """What this host lacks. Changes nothing, never raises."""
        raise NotImplementedError

    def image_resolve(self, request: ImageRequest) -> ResolvedImage:
        """Find the image: manifest, config, layer descriptors; digests of both are verified.

        Errors: NotFound (no such image, or none for the platform), PermissionDenied (credentials), Unavailable,
        InvalidArgument (malformed reference, manifest or digest).
        """
        raise NotImplementedError

    def image_fetch(self, image: ResolvedImage, layer: Descriptor, sink: BlobSink) -> None:
        """Write exactly the bytes of `layer` from `sink.offset` on. May be called again after a failure.

        Errors: NotFound, Unavailable (after its own retries), PermissionDenied.
        """
        raise NotImplementedError
