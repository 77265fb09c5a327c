"""What registries are asked besides images: tags, search, login, description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from barque.engine.core import Core
from barque.engine.images.pulling import host_platform
from barque.oci.reference import DEFAULT_DOMAIN
from barque.spi.common import Platform
from barque.spi.image import Credentials, Distribution, ImageRequest, ImageSearch, SearchResult

__all__ = ["Registries"]


class Registries:
    """Asks the image source that a reference names, or the profile's default one."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def tags(
        self,
        reference: str,
        platform: Platform | None,
        credentials: Credentials | None,
        cancelled: Callable[[], bool],
    ) -> tuple[str, ...]:
        """See `ContentOperations.image_tags`: each as `image_pull` takes it."""
        scheme, rest = self._core.images.naming.for_source(reference)
        wanted = ImageRequest(rest, platform or host_platform(), credentials, cancelled=cancelled)
        found = self._core.drivers.image(scheme).list(wanted)
        return tuple(f"{scheme}:{one}" for one in found) if scheme else found

    def search(self, search: ImageSearch) -> tuple[SearchResult, ...]:
        """See `ContentOperations.image_search`. A term without a host is searched for in the default registry."""
        default = self._core.images.naming.default_registry
        first, slash, _ = search.term.partition("/")
        has_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
        if default != DEFAULT_DOMAIN and not has_host:
            search = replace(search, term=f"{default}/{search.term}")
        return self._core.drivers.image().search(search)

    def describe(
        self, reference: str, credentials: Credentials | None, cancelled: Callable[[], bool]
    ) -> Distribution:
        """See `ContentOperations.image_describe`."""
        scheme, rest = self._core.images.naming.for_source(reference)
        wanted = ImageRequest(rest, host_platform(), credentials, cancelled=cancelled)
        return self._core.drivers.image(scheme).describe(wanted)

    def login(self, server: str, credentials: Credentials) -> str:
        """See `ContentOperations.registry_login`. No server is the default registry."""
        return self._core.drivers.image().login(
            server or self._core.images.naming.default_registry, credentials
        )
