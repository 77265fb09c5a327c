"""Kind `image`: where images come from and go to. Entry-point group `barque.image.v1`.

A reference with a scheme (`deb:bash`) goes to the source of that name in the profile, any other to the profile's
default source. To pull, the engine asks `image_resolve` once, then `image_fetch` for every layer it does not have,
several at once, streams each into its content store (which verifies digest and size while writing), unpacks,
and records the image. What else a source can do it declares by capabilities. A source holds no state the engine depends on.

Hooks run in the daemon, on any thread. A driver is a class with a frozen stdlib dataclass `Config`, constructed as
`Driver(name, config, root)`: `root` is a directory (0700) for caches of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from barque.spi.common import Descriptor, Platform, Probe, Progress
from barque.spi.markers import needs

__all__ = [
    "BlobSink",
    "ContentReader",
    "Credentials",
    "Distribution",
    "ImageCapability",
    "ImageHooks",
    "ImagePush",
    "ImageRequest",
    "ImageSearch",
    "ResolvedImage",
    "SavedImage",
    "SearchResult",
]


class ImageCapability(StrEnum):
    """What an image source can do beyond resolving and fetching.

    push: take images. list: tell the images under a reference (tags of a repository, images of an archive). save: write images as
    one archive. search: find repositories. login: check credentials. describe: tell digest and platforms without pulling.
    """

    PUSH = "push"
    LIST = "list"
    SAVE = "save"
    SEARCH = "search"
    LOGIN = "login"
    DESCRIBE = "describe"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What `docker login` would send for one registry. Never logged: repr hides the secrets. `server`: the registry the client says they are
    for, empty when it does not; they must go to no other (a client may take a name without a host for one of Docker Hub's)."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    server: str = field(default="", compare=False)

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
    `source` is the driver's own (a frozen value it wants back in `image_fetch`). `names`: further names an archive gives the image."""

    name: str
    repository_digest: str
    manifest: bytes
    manifest_type: str
    config: bytes
    layers: tuple[Descriptor, ...]
    source: object = None
    names: tuple[str, ...] = ()


class BlobSink(Protocol):
    """Where `image_fetch` writes. `offset` bytes are there already (an earlier, interrupted fetch); a driver that
    cannot resume calls `restart()` first. `write` raises when the blob is wrong or the pull was cancelled: let it pass.
    """

    @property
    def offset(self) -> int: ...
    def restart(self) -> None: ...
    def write(self, data: bytes | memoryview, /) -> None: ...


class ContentReader(Protocol):
    """The engine's blobs, for drivers that take images."""

    def chunks(self, digest: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes from `offset` on, at most 1 MiB at a time. Read from 0 they are verified: InvalidArgument, naming the digest, at
        the end of a damaged blob, before its last piece is given. Errors: NotFound."""
        ...


@dataclass(frozen=True, slots=True)
class ImagePush:
    """An image to push as `reference` (canonical, with its tag). `manifest` and `config` are the exact bytes to be stored; `layers` are in
    `content`. `repositories`: canonical repositories that are known to hold the layers (to mount from, on the same registry)."""

    reference: str
    manifest: bytes
    manifest_type: str
    config: bytes
    layers: tuple[Descriptor, ...]
    content: ContentReader
    credentials: Credentials | None = None
    repositories: tuple[str, ...] = ()
    progress: Callable[[Progress], None] = lambda _: None
    cancelled: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class SavedImage:
    """An image for an archive: the exact documents, the layers' descriptors and diff ids, and its canonical `names`."""

    names: tuple[str, ...]
    manifest: bytes
    manifest_type: str
    config: bytes
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageSearch:
    """What to search for: `term` as the user wrote it, a registry's host before the first slash or none; at most `limit` results."""

    term: str
    limit: int = 25
    credentials: Credentials | None = None
    cancelled: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A repository that was found."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a registry has under a reference: the descriptor of manifest or index, and its platforms."""

    descriptor: Descriptor
    platforms: tuple[Platform, ...]


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

    @needs(ImageCapability.LIST)
    def image_list(self, request: ImageRequest) -> tuple[str, ...]:
        """References (for `image_resolve`) of all images under `request.reference`: a repository's tags, an archive's images.

        Errors: as `image_resolve`.
        """
        raise NotImplementedError

    @needs(ImageCapability.PUSH)
    def image_push(self, request: ImagePush) -> Descriptor:
        """Store the image: blobs that are not there, then config, then manifest. The descriptor of the manifest as stored.

        Idempotent. Errors: PermissionDenied (`denied: requested access to the resource is denied`), Unavailable (after its own retries),
        NotFound, InvalidArgument; what `content` raises passes unchanged.
        """
        raise NotImplementedError

    @needs(ImageCapability.SAVE)
    def image_save(
        self, images: tuple[SavedImage, ...], content: ContentReader, write: Callable[[bytes], object]
    ) -> None:
        """Write one archive of all `images`, each blob once, in bounded memory. `write` may raise: let it pass."""
        raise NotImplementedError

    @needs(ImageCapability.SEARCH)
    def image_search(self, search: ImageSearch) -> tuple[SearchResult, ...]:
        """Repositories whose name or description fits. Errors: Unavailable, NotImplemented (this registry cannot)."""
        raise NotImplementedError

    @needs(ImageCapability.LOGIN)
    def image_login(self, server: str, credentials: Credentials) -> str:
        """Check credentials with the registry `server` (a host, or Docker Hub's `https://index.docker.io/v1/`): an identity token to keep in
        place of the password, or empty. Errors: PermissionDenied (wrong ones), Unavailable."""
        raise NotImplementedError

    @needs(ImageCapability.DESCRIBE)
    def image_describe(self, request: ImageRequest) -> Distribution:
        """Digest, type and platforms of what `request.reference` names. Errors: as `image_resolve`."""
        raise NotImplementedError
