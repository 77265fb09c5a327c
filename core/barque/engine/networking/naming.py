"""The names that containers have in user-defined networks, told to the name service whenever they change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from barque.engine.networking.live import LiveEndpoints
from barque.engine.networking.resolving import Member, NameService
from barque.engine.networking.stored import NetworkTable, StoredNetwork
from barque.spi.frontend import ContainerConfig, EndpointConfig
from barque.spi.network import Endpoint

if TYPE_CHECKING:
    from barque.engine.records import StoredContainer

__all__ = ["Naming", "dns_names"]


def dns_names(id: str, name: str, hostname: str, aliases: Iterable[str]) -> tuple[str, ...]:
    """The names of a container in a user-defined network; the first is what its address is resolved to."""
    return tuple(dict.fromkeys(filter(None, (name, *aliases, id[:12], hostname))))


class Naming:
    """Thread-safe. `lookup` gives the container of an id, None when it is gone; the engine sets it before anything starts.
    `linked`: some container has, or had, links of the default network."""

    def __init__(self, table: NetworkTable, live: LiveEndpoints, service: NameService) -> None:
        self._table, self._live, self._service = table, live, service
        self._lock = threading.Lock()
        self.linked = False
        self.lookup: Callable[[str], StoredContainer | None] = lambda _: None

    def name_of(self, container_id: str) -> str:
        """A container's name; its short id, when it is gone."""
        stored = self.lookup(container_id)
        return stored.name if stored is not None else container_id[:12]

    def applies(self, endpoints: Iterable[str]) -> bool:
        """Whether one of these networks (names) is user-defined, so that a container in it has a resolver."""
        return any(name not in self._table.predefined for name in endpoints)

    def resolves(
        self,
        container_id: str,
        config: ContainerConfig,
        endpoints: Mapping[str, Endpoint],
        resolver: bool = False,
    ) -> bool:
        """Say what a container may ask for; False when it is in no user-defined network, and asks the host's servers itself. With
        `resolver` it has one in any case, from a network it was in."""
        networks = {
            endpoint.network_id: _links(config.networks.get(name))
            for name, endpoint in endpoints.items()
            if name not in self._table.predefined
        }
        if not networks and not resolver:
            return False
        found = [self._table.get(endpoint.network_id) for endpoint in endpoints.values()]
        internal = all(network.spec.internal for network in found if network is not None)
        with self._lock:
            self._service.container_resolves(container_id, config, networks, internal)
        return True

    def changed(self, endpoints: Iterable[Endpoint]) -> None:
        """Endpoints came, went or have other names: tell the networks they are or were in."""
        for id in {endpoint.network_id for endpoint in endpoints}:
            network = self._table.get(id)
            if network is not None and network.name not in self._table.predefined:
                self._tell(network)

    def gone(self, network: StoredNetwork) -> None:
        """A network was removed."""
        with self._lock:
            self._service.network_gone(network.id)

    def restore(self) -> None:
        """At the daemon's start: the tables of what there is, and no others."""
        networks = [n for n in self._table.all() if n.name not in self._table.predefined]
        with self._lock:
            self._service.restore([network.id for network in networks])
        for network in networks:
            if self._live.of(network.id):
                self._tell(network)

    def _tell(self, network: StoredNetwork) -> None:
        with self._lock:  # around the look at who is there: what is told last is what was seen last
            members = [self._member(network.name, one) for one in self._live.of(network.id)]
            self._service.network_changed(network.id, network.name, [m for m in members if m is not None])

    def _member(self, network: str, endpoint: Endpoint) -> Member | None:
        stored = self.lookup(endpoint.container_id)
        addresses = tuple(a.partition("/")[0] for a in (endpoint.ipv4, endpoint.ipv6) if a)
        if stored is None or not addresses:
            return None
        aliases = stored.config.networks.get(network, EndpointConfig()).aliases
        names = dns_names(stored.id, stored.name, stored.hostname, aliases)
        return Member(stored.id, names, addresses)


def _links(config: EndpointConfig | None) -> Mapping[str, str]:
    """Alias -> name of the other container; it is looked up when somebody asks."""
    pairs = (link.partition(":") for link in (config.links if config else ()))
    return {alias or name: name for name, _, alias in pairs}
