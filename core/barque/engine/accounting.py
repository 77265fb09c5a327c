"""Every byte on the engine's disk, with its owner."""

from __future__ import annotations

from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.spi.content import DiskUsage
from barque.spi.errors import NotImplemented

__all__ = ["Accountant"]


class Accountant:
    """Every byte on the engine's disk, with its owner."""

    def __init__(self, core: Core, containers: ContainerService) -> None:
        self._core, self._containers = core, containers

    def usage(self) -> DiskUsage:
        """See `ContentOperations.disk_usage`."""
        raise NotImplemented("not there yet")
