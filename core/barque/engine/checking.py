"""Is everything in the store what it should be?"""

from __future__ import annotations

from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.spi.common import ProgressSink
from barque.spi.content import Finding
from barque.spi.errors import NotImplemented

__all__ = ["Checker"]


class Checker:
    """Is everything in the store what it should be?"""

    def __init__(self, core: Core, containers: ContainerService) -> None:
        self._core, self._containers = core, containers

    def check(self, *, repair: bool, progress: ProgressSink) -> tuple[Finding, ...]:
        """See `ContentOperations.content_check`."""
        raise NotImplemented("not there yet")
