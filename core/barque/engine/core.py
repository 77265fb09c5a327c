"""What the engine's services share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from barque.engine.drivers import Drivers
from barque.engine.events import EventBus
from barque.engine.host import Host
from barque.engine.images.pulling import Puller
from barque.engine.images.service import ImageService
from barque.engine.layout import Layout
from barque.engine.monitor import Monitor
from barque.engine.networking.service import NetworkService
from barque.engine.records import ContainerRecord, PendingClient, StoredContainer
from barque.engine.volumes.service import VolumeService
from barque.shim.launching import Launcher
from barque.store.content import ContentStore
from barque.store.database import Database

__all__ = ["Core"]


@dataclass(slots=True)
class Core:
    """One engine's parts. `launcher()` waits until it is ready. The exec service sets what begins with `exec`; `renamed` (container,
    old name, new name) is for whoever keeps names of containers, `relink` for those who are linked to one that has started."""

    layout: Layout
    host: Host
    drivers: Drivers
    database: Database
    content: ContentStore
    events: EventBus
    images: ImageService
    puller: Puller
    networks: NetworkService
    volumes: VolumeService
    monitor: Monitor
    launcher: Callable[[], Launcher]
    exec_ids: Callable[[str], tuple[str, ...]] = field(default=lambda _: ())
    execs_ended: Callable[[str], None] = field(default=lambda _: None)
    execs_dropped: Callable[[str], None] = field(default=lambda _: None)
    renamed: Callable[[str, str, str], None] = field(default=lambda *_: None)
    relink: Callable[[ContainerRecord], None] = field(default=lambda _: None)

    def publish(self, stored: StoredContainer, action: str, **more: Any) -> None:
        """An event of a container, with Docker's attributes: labels, image, name, and more."""
        extra = {key: str(value) for key, value in more.items()}
        attributes = {**stored.config.labels, "image": stored.config.image, "name": stored.name, **extra}
        self.events.publish("container", action, stored.id, attributes)

    def close_pending(self, client: PendingClient) -> None:
        """Give up a client that waits for a start."""
        self.monitor.forget(client.fd)
        os.close(client.fd)
