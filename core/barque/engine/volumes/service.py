"""The volumes there are."""

from __future__ import annotations

from collections.abc import Callable

from barque.engine.drivers import Drivers
from barque.engine.events import EventBus
from barque.spi import errors
from barque.spi.frontend import Volume, VolumeRequest
from barque.store.database import Database

__all__ = ["VolumeService"]


class VolumeService:
    """The table of volumes. Thread-safe."""

    def __init__(self, drivers: Drivers, database: Database, events: EventBus) -> None:
        """`users` is set by the engine: the containers that have a volume in their configuration (volume name -> ids)."""
        self._drivers, self._database, self._events = drivers, database, events
        self.users: Callable[[], dict[str, tuple[str, ...]]] = dict

    def load(self) -> None:
        """Read what is stored."""

    def all(self) -> tuple[Volume, ...]:
        """See `Engine.volume_list`."""
        return ()

    def get(self, name: str) -> Volume:
        """See `Engine.volume_get`."""
        raise errors.NotFound(f"get {name}: no such volume")

    def create(self, request: VolumeRequest) -> Volume:
        """See `Engine.volume_create`."""
        raise errors.NotImplemented("volumes")

    def remove(self, name: str, force: bool) -> None:
        """See `Engine.volume_remove`."""
        raise errors.NotImplemented("volumes")

    def usage(self, name: str) -> int:
        """See `Engine.volume_usage`."""
        raise errors.NotImplemented("volumes")
