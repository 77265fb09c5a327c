"""Resolve a reference to one manifest and its config, and fetch layers, over the mirrors and the registry itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from barque.spi import Descriptor, Platform, Progress
from barque.spi.errors import BarqueError, InvalidArgument, NotFound, Unavailable
from barque.spi.image import BlobSink, Distribution, ImageRequest, ResolvedImage
from barque_image_registry.boundedjson import read_object
from barque_image_registry.client import RegistryClient, Repository
from barque_image_registry.documents import Index, Manifest, diff_ids
from barque_image_registry.download import download
from barque_image_registry.endpoints import Endpoints
from barque_image_registry.manifests import bounded, choose, document
from barque_image_registry.platforms import suits
from barque_image_registry.reference import Reference, parse
from barque_image_registry.throttle import Throttle
from barque_image_registry.wire import Check

__all__ = ["PullSource", "Puller", "checker"]

T = TypeVar("T")

_LARGEST_CONFIG = 8 << 20
_OK = frozenset({200})


@dataclass(frozen=True, slots=True)
class PullSource:
    """What `image_fetch` needs of the pull: where to ask (what answered first, the registry itself last), whether it was cancelled."""

    repositories: tuple[Repository, ...]
    cancelled: Callable[[], bool]


class Puller:
    """Pulls for one driver. Thread-safe."""

    def __init__(self, client: RegistryClient, endpoints: Endpoints, throttle: Throttle) -> None:
        self._client, self._endpoints, self._throttle = client, endpoints, throttle

    def resolve(self, request: ImageRequest) -> ResolvedImage:
        """See `ImageHooks.image_resolve`."""
        reference = parse(request.reference)
        check = checker(request.cancelled)

        def at(source: PullSource) -> ResolvedImage:
            return self._resolve_at(source, reference, request.platform, check)

        found = self._anywhere(reference, request, check, at)
        # As dockerd, not before there is something to pull: until the first line an error of a pull is an HTTP status.
        request.progress(Progress(reference.pointer, f"Pulling from {reference.path}"))
        return found

    def describe(self, request: ImageRequest) -> Distribution:
        """See `ImageHooks.image_describe`."""
        reference = parse(request.reference)
        check = checker(request.cancelled)

        def at(source: PullSource) -> Distribution:
            return self._describe_at(source.repositories[0], reference, check)

        return self._anywhere(reference, request, check, at)

    def fetch(self, source: PullSource, layer: Descriptor, sink: BlobSink) -> None:
        """See `ImageHooks.image_fetch`."""
        check = checker(source.cancelled)
        *mirrors, origin = source.repositories
        for mirror in mirrors:
            try:
                return download(self._client, mirror, layer, sink, self._throttle, check)
            except (NotFound, Unavailable):
                check()
        return download(self._client, origin, layer, sink, self._throttle, check)

    def _anywhere(
        self, reference: Reference, request: ImageRequest, check: Check, ask: Callable[[PullSource], T]
    ) -> T:
        """The answer of the first mirror that has one, or in the end the registry's."""
        check()
        candidates = [
            *self._endpoints.mirrors(reference),
            self._endpoints.registry(reference, request.credentials, check),
        ]
        while True:
            try:
                return ask(PullSource(tuple(candidates), request.cancelled))
            except BarqueError:
                check()
                # A mirror may be down, stale or wrong: the next one then.
                if len(candidates) == 1:
                    raise
                candidates.pop(0)

    def _resolve_at(
        self, source: PullSource, reference: Reference, platform: Platform, check: Check
    ) -> ResolvedImage:
        repository = source.repositories[0]
        top = document(self._client, repository, reference.pointer, reference.digest, check)
        chosen = choose(self._client, repository, top, platform, check)
        manifest = chosen.parsed
        if not isinstance(manifest, Manifest):
            raise InvalidArgument(f"{reference.familiar}: an index where a manifest should be")
        config = self._config(repository, manifest.config, check)
        _check_config(config, manifest, reference, platform, chosen_by_index=chosen is not top)
        return ResolvedImage(
            reference.name, top.digest, chosen.data, manifest.media_type, config, manifest.layers, source
        )

    def _describe_at(self, repository: Repository, reference: Reference, check: Check) -> Distribution:
        top = document(self._client, repository, reference.pointer, reference.digest, check)
        descriptor = Descriptor(top.parsed.media_type, top.digest, len(top.data))
        if isinstance(top.parsed, Index):
            named = [c for c in (*top.parsed.choices, *top.parsed.indexes) if c.os and c.architecture]
            return Distribution(descriptor, tuple(Platform(c.os, c.architecture, c.variant) for c in named))
        config = read_object(self._config(repository, top.parsed.config, check), "image config")
        return Distribution(descriptor, (Platform(*_platform(config)),))

    def _config(self, repository: Repository, config: Descriptor, check: Check) -> bytes:
        if config.size > _LARGEST_CONFIG:
            raise InvalidArgument(
                f"image config {config.digest} has {config.size} bytes, more than {_LARGEST_CONFIG}"
            )

        def read() -> bytes:
            with self._client.get(
                repository, f"blobs/{config.digest}", {"Accept": "*/*"}, _OK, check
            ) as reply:
                return bounded(reply, config.size, f"image config {config.digest}")

        data = self._client.retrying(read, check)
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != config.digest or len(data) != config.size:
            raise InvalidArgument(
                f"image config verification failed for digest {config.digest}",
                hint="the registry is broken or hostile",
            )
        return data


def checker(cancelled: Callable[[], bool], what: str = "pull") -> Check:
    """A check that raises Unavailable once `cancelled()` is true."""

    def check() -> None:
        if cancelled():
            raise Unavailable(f"the {what} was cancelled")

    return check


def _check_config(
    config: bytes, manifest: Manifest, reference: Reference, platform: Platform, *, chosen_by_index: bool
) -> None:
    found = read_object(config, "image config")
    if len(diff_ids(found)) != len(manifest.layers):
        raise InvalidArgument(
            f"{reference.familiar}: the config has another number of layers than the manifest"
        )
    names = os, architecture, variant = _platform(found)
    # Many configs do not tell the variant; the index did.
    told = variant or (platform.variant if chosen_by_index else "")
    if not suits(os, architecture, told, platform):
        actual = "/".join(name for name in names if name)
        raise NotFound(
            f"image with reference {reference.familiar} was found but does not provide the specified platform "
            f"({platform}): it is for {actual}"
        )


def _platform(config: dict[str, object]) -> tuple[str, str, str]:
    names = [config.get(name) or "" for name in ("os", "architecture", "variant")]
    if not all(isinstance(name, str) for name in names):
        raise InvalidArgument("image config: os, architecture or variant is not a string")
    return str(names[0]), str(names[1]), str(names[2])
