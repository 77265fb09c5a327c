"""Driver `deb` of kind `image`: images made of Debian packages.

`deb:bash,coreutils@bookworm` is exactly those packages with their dependencies (no Recommends), fetched and verified by the
host's apt against the archive's signed indexes, and unpacked without running any of their scripts. The same package
versions give the same digest on every machine and day.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path

from barque.spi import Descriptor, Probe, Problem, hookimpl
from barque.spi.errors import BarqueError, NotFound, Unavailable
from barque.spi.image import BlobSink, ImageRequest, ResolvedImage
from barque_image_deb.apt import require_apt
from barque_image_deb.architectures import platform
from barque_image_deb.cache import CachedLayer
from barque_image_deb.document import (
    LAYER_TYPE,
    MANIFEST_TYPE,
    ImageFacts,
    config_document,
    manifest_document,
)
from barque_image_deb.reference import PackageSet
from barque_image_deb.source import Resolver, Settings

__all__ = ["DebConfig", "DebImages"]

_CHUNK = 1 << 20


@dataclass(frozen=True)
class DebConfig:
    """Settings of the `deb` image source.

    suite: the suite of references without `@SUITE`; empty: the host's own (VERSION_CODENAME of /etc/os-release).
    mirror: URL of a Debian archive; empty: the mirrors in the host's apt sources, with their keyrings.
    security_mirror: URL of the security archive, with `mirror` only; empty: none.
    keyring: path of the archive's public keys; empty: those the host's sources name.
    components: parts of the archive; empty: those the host's sources name (`main` with `mirror`).
    check_valid_until: whether to refuse package lists that are past their date; set it to false with the URL of a snapshot.
    lists_max_age: seconds after which the package lists are fetched anew.
    cache_bytes: how much of packages (for each suite) and built layers is kept for the next time. The package lists, about 60 MB a
        suite, come on top.
    max_size: bytes one package may unpack to.
    """

    suite: str = ""
    mirror: str = ""
    security_mirror: str = ""
    keyring: str = ""
    components: tuple[str, ...] = field(default=())
    check_valid_until: bool = True
    lists_max_age: float = 86400.0
    cache_bytes: int = 2 << 30
    max_size: int = 4 << 30


class DebImages:
    """Image source over apt; see the module."""

    Config = DebConfig
    capabilities: frozenset[str] = frozenset()

    def __init__(self, name: str, config: DebConfig, root: str | os.PathLike[str]) -> None:
        self.name = name
        settings = Settings(**{item.name: getattr(config, item.name) for item in fields(Settings)})
        self._resolver = Resolver(Path(root), settings)

    @hookimpl
    def image_probe(self) -> Probe:
        """Whether there is an apt-get, and a mirror for the default suite."""
        try:
            program = require_apt()
            suite = self._resolver.suite(PackageSet(()))
            sources = self._resolver.sources(suite)
        except BarqueError as error:
            return Probe((Problem(error.message, error.hint),))
        return Probe(
            facts={
                "apt": program,
                "suite": suite,
                "mirror": " ".join(uri for source in sources for uri in source.uris),
            }
        )

    @hookimpl
    def image_resolve(self, request: ImageRequest) -> ResolvedImage:
        """Resolve, download, unpack: after it the layer is in the cache. Credentials are not used: apt has its own."""
        found = self._resolver.resolve(request)
        layer = Descriptor(LAYER_TYPE, found.layer.digest, found.layer.size)
        facts = ImageFacts(
            platform(request.platform),
            found.suite,
            found.requested,
            tuple((archive.file, archive.sha256) for archive in found.archives),
            found.layer.created,
            found.layer.shell,
            layer,
        )
        config = config_document(facts)
        name = PackageSet(tuple(package for package, _ in found.requested), found.suite)
        manifest = manifest_document(config, layer)
        return ResolvedImage(
            f"{self.name}:{name}", "", manifest, MANIFEST_TYPE, config, (layer,), found.layer
        )

    @hookimpl
    def image_fetch(self, image: ResolvedImage, layer: Descriptor, sink: BlobSink) -> None:
        """Copy the cached layer to the sink."""
        cached = image.source
        if not isinstance(cached, CachedLayer) or cached.digest != layer.digest:
            raise NotFound(f"{image.name} has no layer {layer.digest}")
        try:
            with cached.path.open("rb") as file:
                file.seek(sink.offset)
                while data := file.read(_CHUNK):
                    sink.write(data)
        except FileNotFoundError:
            raise Unavailable(f"{image.name} has left the cache", hint="pull again") from None
