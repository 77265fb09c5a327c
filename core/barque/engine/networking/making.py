"""Networks of users: made and removed."""

from __future__ import annotations

import secrets
import time
from contextlib import ExitStack
from dataclasses import replace

from barque.engine import failpoints
from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.networking.checking import check_network_name, check_subnets
from barque.engine.networking.stored import StoredNetwork
from barque.engine.records import ContainerRecord, StoredContainer, encode
from barque.spi.errors import InvalidArgument, NotFound, PermissionDenied
from barque.spi.frontend import Network, NetworkRequest
from barque.spi.network import Endpoint, NetworkCapability, NetworkSpec, Subnet
from barque.store.database import Transaction

__all__ = ["NetworkMaker"]


class NetworkMaker:
    """Thread-safe."""

    def __init__(self, core: Core, containers: ContainerService) -> None:
        self._core, self._containers = core, containers
        self._networks = core.networks

    def create(self, request: NetworkRequest) -> Network:
        """See `Engine.network_create`. Killed at any point, it is done, or undone by the next daemon."""
        check_network_name(request.name, self._networks.table.predefined)
        driver = self._driver(request)
        if not (request.ipv4 or request.ipv6):
            raise InvalidArgument("IPv4 or IPv6 must be enabled")
        check_subnets(request.subnets, request.ipv6)
        subnets = tuple(one for one in request.subnets if _has_family(one, request))
        spec = NetworkSpec(
            id=secrets.token_hex(32),
            name=request.name,
            subnets=subnets,
            internal=request.internal,
            ipv4=request.ipv4,
            ipv6=request.ipv6,
            options=dict(request.options),
            labels=dict(request.labels),
        )
        network = StoredNetwork(
            spec=spec,
            driver=driver,
            created_ns=time.time_ns(),
            configured=tuple(one.cidr for one in subnets if one.cidr),
            placeholder=request.placeholder,
            document=request.document,
        )
        self._networks.settled()
        with self._networks.table.naming(request.name):
            network = self._make(network)
        self._networks.publish(network, "create")
        return self._networks.view(network)

    def _make(self, network: StoredNetwork) -> StoredNetwork:
        table, realiser = self._networks.table, self._networks.realiser
        if network.placeholder:
            table.put(network)
            return network
        table.intend(network)
        with ExitStack() as undo:
            undo.callback(table.delete, network)
            network = realiser.make(network)
            undo.callback(realiser.unmake, network)
            failpoints.hit("network.create")
            table.put(network)
            undo.pop_all()
        return network

    def _driver(self, request: NetworkRequest) -> str:
        """The instance that a request's driver means: one of that name, or one of that driver."""
        drivers, wanted = self._core.drivers, request.driver or self._networks.default_name()
        names = drivers.names("network")
        instance = next(
            (n for n in names if n == wanted),
            next((n for n in names if drivers.driver_of("network", n) == wanted), ""),
        )
        if wanted == "null" and "none" in names:
            instance = "none"
        if not instance:
            raise NotFound(f'plugin "{wanted}" not found', hint=f"the profile has: {', '.join(names)}")
        if not request.placeholder and NetworkCapability.CREATE not in drivers.network(instance).capabilities:
            shown = "null" if instance == "none" else wanted
            raise PermissionDenied(f'only one instance of "{shown}" network is allowed')
        return instance

    def remove(self, ref: str) -> None:
        """See `Engine.network_remove`. Killed at any point, it is done, or undone by the next daemon."""
        networks = self._networks
        networks.settled()
        network = networks.table.find(ref)
        if network.name in networks.table.predefined:
            raise PermissionDenied(f"{network.name} is a pre-defined network and cannot be removed")
        with networks.live.closed(network.id) as endpoints, ExitStack() as locks:
            if endpoints:
                raise PermissionDenied(
                    f"error while removing network: network {network.name} has active endpoints ({self._shown(endpoints)})"
                )
            if networks.table.get(network.id) is None:
                raise NotFound(f"network {ref} not found")  # somebody else removed it meanwhile
            users = self._users(network)
            for record in users:
                locks.enter_context(record.lock)
            networks.realiser.unmake(network)
            failpoints.hit("network.remove")
            self._forget(network, [record for record in users if not record.removed])
        networks.naming.gone(network)
        networks.publish(network, "destroy")

    def _users(self, network: StoredNetwork) -> list[ContainerRecord]:
        """The containers that name it in their configuration; none of them is in it. In the order of their ids, as all lock them
        who lock several."""
        records = sorted(self._containers.records(), key=lambda record: record.id)
        return [record for record in records if network.name in record.stored.config.networks]

    def _forget(self, network: StoredNetwork, records: list[ContainerRecord]) -> None:
        """Remove the row, and with it the network from the configurations."""
        changed = {record.id: _without(record, network.name) for record in records}

        def beside(change: Transaction) -> None:
            for id, stored in changed.items():
                change.put("containers", id, encode(stored))

        self._networks.table.delete(network, beside)
        for record in records:
            record.stored = changed[record.id]

    def _shown(self, endpoints: tuple[Endpoint, ...]) -> str:
        name_of = self._networks.naming.name_of
        return ", ".join(f'name:"{name_of(one.container_id)}" id:"{one.id[:12]}"' for one in endpoints)


def _without(record: ContainerRecord, network: str) -> StoredContainer:
    config = record.stored.config
    networks = {name: endpoint for name, endpoint in config.networks.items() if name != network}
    return replace(record.stored, config=replace(config, networks=networks))


def _has_family(subnet: Subnet, request: NetworkRequest) -> bool:
    return request.ipv6 if ":" in subnet.cidr else request.ipv4
