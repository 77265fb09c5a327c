"""Resolve a reference to one manifest and its config, and fetch layers, over the mirrors and the registry itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from barque.spi import Descriptor, Platform, Progress
from barque.spi.errors import BarqueError, InvalidArgument, NotFound, Unavailable
from barque.spi.image import BlobSink, Credentials, ImageRequest, ResolvedImage
from barque_image_registry.boundedjson import read_object
from barque_image_registry.client import RegistryClient, Repository
from barque_image_registry.documents import ACCEPT, Index, Manifest, diff_ids, read_document
from barque_image_registry.download import download
from barque_image_registry.origin import Origin, Url, parse_url
from barque_image_registry.platforms import best, suits
from barque_image_registry.reference import Reference, is_digest, parse
from barque_image_registry.replies import Subject
from barque_image_registry.transport import Reply, Transport
from barque_image_registry.wire import Check

__all__ = ["PullSource", "Puller"]

_LARGEST_MANIFEST = 4 << 20
_LARGEST_CONFIG = 8 << 20
_OK = frozenset({200})


@dataclass(frozen=True, slots=True)
class PullSource:
    """What `image_fetch` needs of the pull: where to ask (what answered first, the registry itself last), whether it was cancelled."""

    repositories: tuple[Repository, ...]
    cancelled: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Document:
    data: bytes
    digest: str
    parsed: Manifest | Index


class Puller:
    """Pulls for one driver. Thread-safe."""

    def __init__(self, transport: Transport, client: RegistryClient, mirrors: tuple[str, ...]) -> None:
        self._transport = transport
        self._client = client
        self._mirrors = tuple(parse_url(mirror) for mirror in mirrors)

    def resolve(self, request: ImageRequest) -> ResolvedImage:
        """See `ImageHooks.image_resolve`."""
        reference = parse(request.reference)
        request.progress(Progress(reference.pointer, f"Pulling from {reference.path}"))
        check = _checker(request.cancelled)
        check()
        subject = Subject(reference.familiar_repository, reference.familiar)
        mirrors = [
            _at_mirror(mirror, reference, subject) for mirror in self._mirrors if reference.is_docker_hub
        ]
        origin = self._at_origin(reference, subject, request.credentials, check)
        candidates = [*mirrors, origin]
        while True:
            source = PullSource(tuple(candidates), request.cancelled)
            try:
                return self._resolve_at(source, reference, request.platform, check)
            except BarqueError:
                check()
                # A mirror may be down, stale or wrong: the next one then, and in the end the registry itself.
                if len(candidates) == 1:
                    raise
                candidates.pop(0)

    def fetch(self, source: PullSource, layer: Descriptor, sink: BlobSink) -> None:
        """See `ImageHooks.image_fetch`."""
        check = _checker(source.cancelled)
        *mirrors, origin = source.repositories
        for mirror in mirrors:
            try:
                return download(self._client, mirror, layer, sink, check)
            except (NotFound, Unavailable):
                check()
        return download(self._client, origin, layer, sink, check)

    def _at_origin(
        self, reference: Reference, subject: Subject, credentials: Credentials | None, check: Check
    ) -> Repository:
        url = parse_url(f"https://{reference.endpoint}/")
        host, port = url.origin.host, url.origin.port
        scheme = self._client.retrying(lambda: self._transport.scheme_of(host, port, check), check)
        return Repository(_origin(scheme, reference.endpoint), "", reference.path, subject, credentials)

    def _resolve_at(
        self, source: PullSource, reference: Reference, platform: Platform, check: Check
    ) -> ResolvedImage:
        repository = source.repositories[0]
        top = self._document(repository, reference.pointer, reference.digest, check)
        chosen = top
        if isinstance(top.parsed, Index):
            choice = best(top.parsed.choices, platform)
            if choice is None:
                raise NotFound(
                    f"no matching manifest for {platform} in the manifest list entries",
                    hint=f"{reference.familiar} has no image for this platform",
                )
            chosen = self._document(repository, choice.descriptor.digest, choice.descriptor.digest, check)
            _must_be(chosen, choice.descriptor)
        manifest = chosen.parsed
        if not isinstance(manifest, Manifest):
            raise InvalidArgument(f"{reference.familiar}: an index within an index is not supported")
        config = self._config(repository, manifest.config, check)
        _check_config(config, manifest, reference, platform)
        return ResolvedImage(
            reference.name, top.digest, chosen.data, manifest.media_type, config, manifest.layers, source
        )

    def _document(self, repository: Repository, pointer: str, digest: str, check: Check) -> _Document:
        def read() -> tuple[bytes, str, str]:
            with self._client.get(
                repository, f"manifests/{pointer}", {"Accept": ACCEPT}, _OK, check
            ) as reply:
                data = _bounded(reply, _LARGEST_MANIFEST, f"manifest {pointer}")
                return (
                    data,
                    reply.headers.get("Content-Type", ""),
                    reply.headers.get("Docker-Content-Digest", ""),
                )

        data, content_type, announced = self._client.retrying(read, check)
        found = f"sha256:{hashlib.sha256(data).hexdigest()}"
        wanted = digest or (announced if is_digest(announced) else found)
        if found != wanted:
            raise InvalidArgument(
                f"manifest verification failed for digest {wanted}: it is {found}",
                hint="the registry is broken or hostile",
            )
        return _Document(data, found, read_document(data, content_type))

    def _config(self, repository: Repository, config: Descriptor, check: Check) -> bytes:
        if config.size > _LARGEST_CONFIG:
            raise InvalidArgument(
                f"image config {config.digest} has {config.size} bytes, more than {_LARGEST_CONFIG}"
            )

        def read() -> bytes:
            with self._client.get(
                repository, f"blobs/{config.digest}", {"Accept": "*/*"}, _OK, check
            ) as reply:
                return _bounded(reply, config.size, f"image config {config.digest}")

        data = self._client.retrying(read, check)
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != config.digest or len(data) != config.size:
            raise InvalidArgument(
                f"image config verification failed for digest {config.digest}",
                hint="the registry is broken or hostile",
            )
        return data


def _at_mirror(mirror: Url, reference: Reference, subject: Subject) -> Repository:
    return Repository(mirror.origin, mirror.target.rstrip("/"), reference.path, subject)


def _origin(scheme: str, endpoint: str) -> Origin:
    """The origin of `host[:port]`; without a port the scheme's own."""
    return parse_url(f"{scheme}://{endpoint}/").origin


def _bounded(reply: Reply, limit: int, what: str) -> bytes:
    data = reply.read_at_most(limit)
    if data is None:
        raise InvalidArgument(f"{what} is larger than {limit} bytes")
    return data


def _must_be(document: _Document, descriptor: Descriptor) -> None:
    """The manifest an index named is the one it described."""
    if len(document.data) != descriptor.size or document.parsed.media_type != descriptor.media_type:
        raise InvalidArgument(
            f"manifest {descriptor.digest}: size or media type differ from what the index says",
            hint="the image is broken at its source",
        )


def _check_config(config: bytes, manifest: Manifest, reference: Reference, platform: Platform) -> None:
    document = read_object(config, "image config")
    if len(diff_ids(document)) != len(manifest.layers):
        raise InvalidArgument(
            f"{reference.familiar}: the config has another number of layers than the manifest"
        )
    names = [document.get(name) or "" for name in ("os", "architecture", "variant")]
    if not all(isinstance(name, str) for name in names):
        raise InvalidArgument("image config: os, architecture or variant is not a string")
    if not suits(names[0], names[1], names[2], platform):
        actual = "/".join(name for name in names if name)
        raise NotFound(
            f"image with reference {reference.familiar} was found but does not provide the specified platform "
            f"({platform}): it is for {actual}"
        )


def _checker(cancelled: Callable[[], bool]) -> Check:
    def check() -> None:
        if cancelled():
            raise Unavailable("the pull was cancelled")

    return check
