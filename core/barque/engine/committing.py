"""What a container changed: told, and made an image."""

from __future__ import annotations

from barque.engine.core import Core
from barque.engine.records import ContainerRecord
from barque.spi.content import CommitRequest, Image
from barque.spi.errors import NotImplemented
from barque.spi.storage import Change

__all__ = ["Committer"]


class Committer:
    """What a container changed: told, and made an image."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def changes(self, record: ContainerRecord) -> tuple[Change, ...]:
        """See `ContentOperations.container_changes`."""
        raise NotImplemented("not there yet")

    def commit(self, record: ContainerRecord, request: CommitRequest) -> Image:
        """See `ContentOperations.container_commit`."""
        raise NotImplemented("not there yet")
