"""The engine's facade, as far as it is about networks."""

from __future__ import annotations

from barque.engine.containers import ContainerService
from barque.engine.content_facade import ContentFacade
from barque.engine.core import Core
from barque.engine.networking.connecting import Connector
from barque.engine.networking.following import Follower
from barque.engine.networking.making import NetworkMaker
from barque.spi.frontend import EndpointConfig, Network, NetworkRequest

__all__ = ["NetworkFacade"]


class NetworkFacade(ContentFacade):
    """See `barque.spi.frontend.Engine`."""

    def __init__(self, core: Core, containers: ContainerService) -> None:
        super().__init__(core, containers)
        self._maker, self._connector = NetworkMaker(core, containers), Connector(core, containers)
        self._follower = Follower(core, containers)
        core.networks.naming.lookup = containers.stored
        core.renamed = lambda id, *_: self._follower.renamed(id)
        core.relink = self._follower.relink

    def _networks_loaded(self) -> None:
        """Networks and containers are read; nothing is adopted yet."""
        networks = self._core.networks
        networks.adopt(self._containers.networked())
        networks.naming.linked = any(record.stored.config.links for record in self._containers.records())

    def _networks_settled(self) -> None:
        """Make the host agree with what is stored."""
        self._core.networks.restore(self._containers.networked)
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
