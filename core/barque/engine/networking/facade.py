"""The engine's facade, as far as it is about networks."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from barque.engine.containers import ContainerService
from barque.engine.content_facade import ContentFacade
from barque.engine.core import Core
from barque.engine.networking.choosing import several_routes
from barque.spi.frontend import EndpointConfig, Network, NetworkRequest

if TYPE_CHECKING:
    from barque.engine.networking.connecting import Connector
    from barque.engine.networking.following import Follower
    from barque.engine.networking.making import NetworkMaker

__all__ = ["NetworkFacade"]


class NetworkFacade(ContentFacade):
    """See `barque.spi.frontend.Engine`. What a daemon at rest does not need is imported when it is first asked for."""

    def __init__(self, core: Core, containers: ContainerService) -> None:
        super().__init__(core, containers)
        core.networks.naming.lookup = containers.stored
        core.renamed = lambda id, *_: self._follower.renamed(id)
        core.relink = lambda record: self._follower.relink(record)

    @cached_property
    def _maker(self) -> NetworkMaker:
        from barque.engine.networking.making import NetworkMaker

        return NetworkMaker(self._core, self._containers)

    @cached_property
    def _connector(self) -> Connector:
        from barque.engine.networking.connecting import Connector

        return Connector(self._core, self._containers)

    @cached_property
    def _follower(self) -> Follower:
        from barque.engine.networking.following import Follower

        return Follower(self._core, self._containers)

    def _networks_loaded(self) -> None:
        """Networks and containers are read; nothing is adopted yet."""
        networks = self._core.networks
        networks.adopt(self._containers.networked())
        networks.naming.linked = any(record.stored.config.links for record in self._containers.records())

    def _networks_settled(self) -> None:
        """Make the host agree with what is stored."""
        self._core.networks.restore(self._containers.networked)
        if any(r.running and several_routes(r.stored.endpoints) for r in self._containers.records()):
            self._connector.reassert()

    def network_list(self) -> tuple[Network, ...]:
        return self._core.networks.all()

    def network_get(self, ref: str) -> Network:
        return self._core.networks.get(ref)

    def network_create(self, request: NetworkRequest) -> Network:
        return self._maker.create(request)

    def network_remove(self, ref: str) -> None:
        self._maker.remove(ref)

    def network_connect(self, ref: str, container: str, config: EndpointConfig) -> None:
        self._connector.connect(ref, container, config)

    def network_disconnect(self, ref: str, container: str, force: bool) -> None:
        self._connector.disconnect(ref, container, force)
