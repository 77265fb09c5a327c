"""Containers that exist go into networks and out of them: at once when they run, else with their next start."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from barque.engine import failpoints
from barque.engine.containers import ContainerService
from barque.engine.core import Core
from barque.engine.networking.checking import check_endpoint, is_container_mode
from barque.engine.networking.choosing import (
    Wanted,
    gateway,
    interfaces,
    kept_ports,
    ports_of,
    several_routes,
)
from barque.engine.networking.following import Follower
from barque.engine.networking.sandboxes import open_sandbox
from barque.engine.networking.stored import StoredNetwork
from barque.engine.processes import start_time
from barque.engine.records import ContainerRecord, StoredContainer
from barque.spi.errors import BarqueError, Conflict, InvalidArgument, NotFound, PermissionDenied
from barque.spi.frontend import EndpointConfig
from barque.spi.network import Endpoint, NetworkCapability
from barque.spi.trees.failures import reported

__all__ = ["Connector"]

_log = logging.getLogger(__name__)
_NONE = "none"


class Connector:
    """Thread-safe: what concerns one container is done under its record's lock."""

    def __init__(self, core: Core, containers: ContainerService) -> None:
        self._core, self._containers = core, containers
        self._networks = core.networks
        self._follower = Follower(core, containers)

    def connect(self, ref: str, container: str, config: EndpointConfig) -> None:
        """See `Engine.network_connect`. Killed at any point, it is done, or undone by the next daemon."""
        record = self._containers.find(container)
        self._networks.settled()
        with record.lock:
            _require_changeable(record)
            if is_container_mode(record.stored.config.network):
                raise InvalidArgument(
                    "container sharing network namespace with another container or host cannot be connected to any other network"
                )
            network = self._networks.table.find(ref)
            check_endpoint(network, network.name in self._networks.table.predefined, config)
            self._check_company(record.stored, network)
            if record.running:
                self._join(record, Wanted(network, config))
            elif network.name not in self._named(record.stored):
                self._configure(record, {**self._named(record.stored), network.name: config})

    def disconnect(self, ref: str, container: str, force: bool) -> None:
        """See `Engine.network_disconnect`. Killed at any point, it is done, or undone by the next daemon."""
        try:
            record = self._containers.find(container)
        except NotFound:
            if not force:
                raise
            self._networks.table.find(ref)
            raise NotFound(f"endpoint {container} not found") from None
        self._networks.settled()
        with record.lock:
            _require_changeable(record)
            network = self._found(ref, force)
            name = network.name if network else ref
            if network is not None and record.running:
                self._leave(record, network)
                return
            networks = self._named(record.stored)
            if name not in networks:
                raise NotFound(f"container {record.id} is not connected to the network {name}")
            del networks[name]
            self._configure(record, networks)
        if network is not None:
            self._networks.publish(network, "disconnect", record.id)

    def reassert(self) -> None:
        """At the daemon's start: the way out of each running container is what its record says, whatever a crash left halfway."""
        for record in self._containers.records():
            if not (record.running and several_routes(record.stored.endpoints)):
                continue
            try:
                with record.lock, self._sandbox(record) as netns:
                    self._reroute(record, netns, anew=True)
            except (BarqueError, OSError) as error:
                _log.error("container %s: its default route: %s", record.id[:12], error)

    # -- containers that run --------------------------------------------------------------------

    def _join(self, record: ContainerRecord, wanted: Wanted) -> None:
        stored, name = record.stored, wanted.network.name
        if name in stored.endpoints:
            raise PermissionDenied(f"endpoint with name {stored.name} already exists in network {name}")
        others = {n: e for n, e in stored.endpoints.items() if n in self._named(stored)}  # not `none`
        taken = [endpoint.interface for endpoint in others.values()]
        interface = interfaces([wanted], taken)[0]
        if interface in taken:
            raise Conflict(f"interface name {interface} is already in use in container {stored.id}")
        networks = {**self._named(stored), name: wanted.config}
        with self._sandbox(record) as netns:
            endpoint = self._networks.attacher.attach_one(stored.id, wanted, interface, netns)
            try:
                failpoints.hit("network.connect")
                self._configure(record, networks, {**others, name: endpoint})
            except BaseException:
                self._networks.attacher.detach(endpoint, netns)
                raise
            try:
                failpoints.hit("network.route")
                self._reroute(record, netns)
                self._follower.changed(record, stored, endpoint, netns)
            except BaseException:
                self._withdraw(record, stored, name, netns)
                raise
        self._networks.publish(wanted.network, "connect", stored.id)

    def _withdraw(self, record: ContainerRecord, before: StoredContainer, name: str, netns: int) -> None:
        """Take back a connection that could not be finished: the container is in the networks it was in before."""
        now = record.stored.endpoints
        endpoint = now[name]
        left = {other: now.get(other, one) for other, one in before.endpoints.items()}
        record.change(self._core.database, config=before.config, endpoints=left)
        self._networks.attacher.detach(endpoint, netns)
        self._reroute(record, netns, had=endpoint)
        with reported("telling the names of containers", "the run directory"):
            self._networks.naming.changed([endpoint])

    def _leave(self, record: ContainerRecord, network: StoredNetwork) -> None:
        stored = record.stored
        endpoint = stored.endpoints.get(network.name)
        if endpoint is None:
            raise NotFound(f"container {stored.id} is not connected to network {network.name}")
        driver = self._networks.realiser.driver(network)
        if NetworkCapability.HOST_NAMESPACE in driver.capabilities:
            raise InvalidArgument(
                "cannot disconnect container from host network - container was created in host network mode"
            )
        networks = self._named(stored)
        networks.pop(network.name, None)
        endpoints = {name: one for name, one in stored.endpoints.items() if name != network.name}
        with self._sandbox(record) as netns:
            self._configure(record, networks, endpoints)
            failpoints.hit("network.disconnect")
            self._networks.attacher.detach(endpoint, netns)
            self._reroute(record, netns, had=endpoint)
            self._follower.changed(record, stored, endpoint, netns)
        self._networks.publish(network, "disconnect", stored.id)

    def _reroute(
        self, record: ContainerRecord, netns: int, had: Endpoint | None = None, anew: bool = False
    ) -> None:
        """Have the default route and the published ports where they belong now. `had`: an endpoint that had them and is gone.
        `anew`: tell the drivers also what they should know."""
        stored = record.stored
        members = self._members(stored)
        best = gateway(members)
        name = best.network.name if best else ""
        outward = {one.network.name for one in members if not one.network.spec.internal}
        endpoints = dict(stored.endpoints)
        before = [n for n, e in endpoints.items() if e.default_route and n in outward and n != name]
        had = next((endpoints[n] for n in before), had)
        route = self._networks.attacher.route
        with ExitStack() as undo:
            for other in [n for n in endpoints if n != name and (n in before or anew)]:
                old = endpoints[other]
                endpoints[other] = route(old, netns, False, ())
                undo.callback(route, old, netns, old.default_route, old.ports)
            if name and (anew or not endpoints[name].default_route):
                ports = endpoints[name].ports or kept_ports(
                    ports_of(stored.config), had.ports if had is not None else ()
                )
                endpoints[name] = route(endpoints[name], netns, True, ports)
            undo.pop_all()
        if endpoints != stored.endpoints:
            record.change(self._core.database, endpoints=endpoints)

    def _members(self, stored: StoredContainer) -> list[Wanted]:
        """The networks a running container is in."""
        named = stored.config.networks
        found = ((self._networks.table.get(e.network_id), n) for n, e in stored.endpoints.items())
        return [Wanted(net, named.get(n, EndpointConfig())) for net, n in found if net is not None]

    @contextmanager
    def _sandbox(self, record: ContainerRecord) -> Iterator[int]:
        """The network namespace of a container that runs. Errors: Conflict, when it ends in this moment."""
        state = record.stored.state
        try:
            netns = open_sandbox(state.pid)
        except OSError:
            raise Conflict(f"Container {record.id} is not running") from None
        try:
            if start_time(state.pid) != record.stored.starttime:  # its pid is another process's by now
                raise Conflict(f"Container {record.id} is not running")
            yield netns
        finally:
            os.close(netns)

    # -- containers that do not ------------------------------------------------------------------

    def _check_company(self, stored: StoredContainer, network: StoredNetwork) -> None:
        """Which networks go together. Errors: InvalidArgument."""
        mode = stored.config.network
        if network.name in stored.endpoints:
            return
        if self._is_host(network) and mode != network.name:
            raise InvalidArgument(
                "cannot connect container to host network - container must be created in host network mode"
            )
        for name in self._named(stored):
            other = self._found(name, force=True)
            if other is None or other.name == network.name:
                continue
            if self._is_host(other) or self._is_host(network):
                raise InvalidArgument(
                    "container sharing network namespace with another container or host cannot be connected to any other network"
                )
            if _NONE in (other.name, network.name):
                raise InvalidArgument(
                    "container cannot be connected to multiple networks with one of the networks in private (none) mode"
                )

    def _is_host(self, network: StoredNetwork) -> bool:
        if network.placeholder:
            return False
        return NetworkCapability.HOST_NAMESPACE in self._networks.realiser.driver(network).capabilities

    def _named(self, stored: StoredContainer) -> dict[str, EndpointConfig]:
        """The networks of a container's configuration, by name."""
        config = stored.config
        if config.networks:
            return {n: e for n, e in config.networks.items() if n != _NONE or config.network == _NONE}
        network = self._found(config.network, force=True)
        return {network.name if network else config.network: EndpointConfig()}

    def _configure(
        self,
        record: ContainerRecord,
        networks: Mapping[str, EndpointConfig],
        endpoints: Mapping[str, Endpoint] | None = None,
    ) -> None:
        """Replace the networks of a container, durable first. With none left it is in `none`, where there is that: without any, it
        would be in that of its mode again."""
        if not networks and _NONE in self._networks.table.predefined:
            networks = {_NONE: EndpointConfig()}
        config = replace(record.stored.config, networks=dict(networks))
        kept = record.stored.endpoints if endpoints is None else endpoints
        record.change(self._core.database, config=config, endpoints=dict(kept))

    def _found(self, ref: str, force: bool) -> StoredNetwork | None:
        """The network, or with `force` None when there is none."""
        try:
            return self._networks.table.find(ref)
        except NotFound:
            if not force:
                raise
            return None


def _require_changeable(record: ContainerRecord) -> None:
    if record.removed or record.stored.state.status in ("removing", "dead"):
        raise Conflict(
            f"Container {record.id} is marked for removal and cannot be connected or disconnected to the network"
        )
