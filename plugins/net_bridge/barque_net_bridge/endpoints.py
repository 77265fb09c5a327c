"""Endpoints: addresses, ports and interfaces of containers in bridge networks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace

from barque.spi.errors import AlreadyExists, BarqueError, InvalidArgument
from barque.spi.network import Attachment, Endpoint, EndpointSpec, NetworkSpec, PortBinding
from barque_net_bridge import conntrack
from barque_net_bridge.background import Background
from barque_net_bridge.bindings import ANY4, ANY6, Hosts, addresses, checked
from barque_net_bridge.interfaces import Interfaces
from barque_net_bridge.links import HostLinks
from barque_net_bridge.networks import Bridged, Networks
from barque_net_bridge.ports import HostPorts
from barque_net_bridge.records import addresses_of, guard_rule, link_local_data, port_rules, sound
from barque_net_bridge.ruleset import PortRule
from barque_net_bridge.sandbox import Plan, route
from barque_net_bridge.settings import Mode, interface_name

__all__ = ["Endpoints"]

log = logging.getLogger(__name__)


class Endpoints:
    """The endpoints of this driver. Thread-safe."""

    def __init__(self, networks: Networks, background: Background, warm: int, warm_maximum: int) -> None:
        self._networks = networks
        self._links = HostLinks(networks, background)
        self._interfaces = Interfaces(networks, background, self._links, warm, warm_maximum)
        self._ports = HostPorts()
        self._lock = threading.Lock()
        self._live: dict[str, Endpoint | None] = {}  # None while an attach is under way

    def attach(self, spec: EndpointSpec, netns: int | None) -> Attachment:
        """Make an endpoint in `netns`, or in a sandbox of our own. On error nothing is left."""
        network = self._networks.get(spec.network.id)
        with ExitStack() as undo:
            self._claim(spec, network, undo)
            undo.callback(self._ports.release, spec.id)
            ports = self._reserve_ports(spec.id, spec.ports, network)
            plan, sandbox = self._interfaces.make(spec, network, netns, undo)
            endpoint = _endpoint(spec, network, ports, plan)
            if ports:
                undo.callback(self._withdraw, spec.id)
                self._publish(endpoint, undo)
            self._live[spec.id] = endpoint
            undo.pop_all()
        return Attachment(endpoint, sandbox)

    def detach(self, endpoint: Endpoint, netns: int | None) -> None:
        """Release what an endpoint has, as much of it as there is. Its link goes with its sandbox, or in a moment; with `netns`,
        the sandbox of a container that goes on, now."""
        with ExitStack() as steps:  # each is tried, whatever becomes of the others
            if endpoint.host_interface:
                away = self._links.bury if netns is None else self._links.remove
                steps.callback(away, endpoint.host_interface)
            network = self._networks.known().get(endpoint.network_id)
            if network is not None and (endpoint.ipv4 or endpoint.ipv6):
                steps.callback(_release, network, endpoint)
            steps.callback(self._withdraw, endpoint.id)
            self._live.pop(endpoint.id, None)

    def update(
        self, endpoint: Endpoint, netns: int, default_route: bool, ports: tuple[PortBinding, ...]
    ) -> Endpoint:
        """Move the default route and the published ports to or from a live endpoint. On error it is as it was."""
        network = self._networks.get(endpoint.network_id)
        with ExitStack() as undo:
            undo.callback(self._ports.keep, endpoint.id, endpoint.ports)
            chosen = self._reserve_ports(endpoint.id, ports, network)
            changed = replace(endpoint, ports=chosen, default_route=default_route)
            self._publish(changed, undo)
            route(netns, endpoint.interface, network.gateways, default=default_route)
            undo.pop_all()
        self._ports.keep(endpoint.id, chosen)
        self._live[endpoint.id] = changed
        return changed

    def restore(self, networks: tuple[NetworkSpec, ...], endpoints: tuple[Endpoint, ...]) -> None:
        """These endpoints, and no others, exist: takes their addresses and ports, asserts their rules and links."""
        wanted = {spec.id for spec in networks}
        live = {endpoint.id: endpoint for endpoint in sound(endpoints) if endpoint.network_id in wanted}
        for known in list(self._live.values()):
            if known is not None and known.id not in live:
                self.detach(known, None)
        for endpoint in live.values():
            self._readmit(endpoint)
        self._networks.firewall.restore(
            {id: network.rules for id, network in self._networks.known().items()},
            {endpoint.id: port_rules(endpoint) for endpoint in live.values() if endpoint.ports},
            [guard_rule(endpoint) for endpoint in live.values()],
        )
        self.match_links()

    def match_links(self) -> None:
        """Put every live endpoint's link on its bridge; delete what a crash left."""
        networks = self._networks.known()
        masters = {
            endpoint.host_interface: networks[endpoint.network_id].link.index
            for endpoint in list(self._live.values())
            if endpoint is not None and endpoint.network_id in networks
        }
        self._links.match(masters)

    def drop_slots(self, network_id: str) -> None:
        """Drop the warm slots of a network. Idempotent."""
        self._interfaces.drop_slots(network_id)

    def close(self) -> None:
        """Drop warm slots and give up ports; endpoints stay. Idempotent."""
        self._interfaces.close()
        self._links.close()
        self._ports.close()

    def bury_retired(self) -> None:
        """Have the bridges of removed networks deleted in a moment."""
        self._links.bury_retired()

    # Attach, step by step. Each step leaves its undoing on the stack.

    def _claim(self, spec: EndpointSpec, network: Bridged, undo: ExitStack) -> None:
        interface_name(spec.interface)
        for version, wanted in ((4, spec.ipv4), (6, spec.ipv6)):
            if wanted and network.pool(version) is None:
                raise InvalidArgument(
                    f"no configured subnet or ip-range contain the IP address {wanted}",
                    hint=f"network {network.spec.name} has no IPv{version}",
                )
        with self._lock:
            if spec.id in self._live:
                raise AlreadyExists(f"endpoint {spec.id[:12]} already exists")
            self._live[spec.id] = None
        undo.callback(self._live.pop, spec.id, None)

    def _reserve_ports(
        self, id: str, wanted: tuple[PortBinding, ...], network: Bridged
    ) -> tuple[PortBinding, ...]:
        """The ports as they are published: with a port of the host, or, where the network is routed to, open at the container's."""
        if not wanted or network.spec.internal:
            return ()
        has = {pool.subnet.version for pool in network.pools}
        routed = {version for version in has if network.options.mode(version) is Mode.ROUTED}
        hosts = Hosts(4 in has - routed, 6 in has - routed, network.options.host_ip)
        if not routed:
            return self._ports.reserve(id, wanted, hosts)
        opened = _opened(wanted, Hosts(4 in routed, 6 in routed))
        named = {"": 0, **{port.host_ip: 6 if ":" in port.host_ip else 4 for port in wanted if port.host_ip}}
        rest = tuple(port for port in wanted if has - routed and named[port.host_ip] not in routed)
        return self._ports.reserve(id, rest, hosts) + opened

    def _publish(self, endpoint: Endpoint, undo: ExitStack) -> None:
        """Publish the endpoint's ports instead of what it had."""
        rules = port_rules(endpoint)
        before = self._networks.firewall.replace(endpoint.id, rules)
        undo.callback(self._networks.firewall.replace, endpoint.id, before)
        _forget_flows(set(rules) ^ set(before))

    def _withdraw(self, id: str) -> None:
        try:
            _forget_flows(self._networks.firewall.replace(id, ()))
        finally:
            self._ports.release(id)

    def _readmit(self, endpoint: Endpoint) -> None:
        """Take what a living endpoint has. What it has lost meanwhile does not keep the daemon from starting."""
        network = self._networks.get(endpoint.network_id)
        self._live[endpoint.id] = endpoint
        for address in addresses_of(endpoint):
            try:
                self._interfaces.reserve(network, address, endpoint.id)
            except BarqueError as error:
                log.warning("endpoint %s: %s", endpoint.id[:12], error)
        self._ports.restore(endpoint.id, tuple(port for port in endpoint.ports if port.host_port))


def _opened(wanted: Iterable[PortBinding], hosts: Hosts) -> tuple[PortBinding, ...]:
    """The ports that are open at the container's own addresses, each once; host port 0 says so."""
    found: dict[PortBinding, None] = {}
    for binding in map(checked, wanted):
        for address in addresses(replace(binding, host_ip=""), hosts):
            any_address = ANY6 if ":" in address else ANY4
            found[replace(binding, host_ip=any_address, host_port=0, host_port_last=0)] = None
    return tuple(found)


def _release(network: Bridged, endpoint: Endpoint) -> None:
    for address in addresses_of(endpoint):
        pool = network.pool(address.version)
        if pool is not None:
            pool.release(address, endpoint.id)


def _forget_flows(rules: Iterable[PortRule]) -> None:
    for family, version in (("ip", 4), ("ip6", 6)):
        ports = {rule.host_port for rule in rules if rule.protocol == "udp" and rule.family == family}
        conntrack.forget_udp(ports - {0}, version)


def _endpoint(spec: EndpointSpec, network: Bridged, ports: tuple[PortBinding, ...], plan: Plan) -> Endpoint:
    by_version = {address.version: str(address) for address in plan.addresses}
    gateways = {gateway.version: str(gateway) for gateway in network.gateways}
    return Endpoint(
        id=spec.id,
        network_id=network.spec.id,
        container_id=spec.container_id,
        interface=plan.interface,
        host_interface=plan.host,
        mac=plan.mac,
        ipv4=by_version.get(4, ""),
        ipv6=by_version.get(6, ""),
        gateway4=gateways.get(4, ""),
        gateway6=gateways.get(6, ""),
        ports=ports,
        default_route=spec.default_route,
        data=link_local_data(plan.more),
    )
