"""What registries are asked besides images: tags, search, login, description."""

from __future__ import annotations

from collections.abc import Callable

from barque.engine.core import Core
from barque.spi.common import Platform
from barque.spi.errors import NotImplemented
from barque.spi.image import Credentials, Distribution, ImageSearch, SearchResult

__all__ = ["Registries"]


class Registries:
    """What registries are asked besides images: tags, search, login, description."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def tags(
        self,
        reference: str,
        platform: Platform | None,
        credentials: Credentials | None,
        cancelled: Callable[[], bool],
    ) -> tuple[str, ...]:
        """See `ContentOperations.image_tags`."""
        raise NotImplemented("not there yet")

    def search(self, search: ImageSearch) -> tuple[SearchResult, ...]:
        """See `ContentOperations.image_search`."""
        raise NotImplemented("not there yet")

    def describe(
        self, reference: str, credentials: Credentials | None, cancelled: Callable[[], bool]
    ) -> Distribution:
        """See `ContentOperations.image_describe`."""
        raise NotImplemented("not there yet")

    def login(self, server: str, credentials: Credentials) -> str:
        """See `ContentOperations.registry_login`."""
        raise NotImplemented("not there yet")
