"""Endpoints: addresses, ports and interfaces of containers in bridge networks."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

from barque.spi import errors
from barque.spi.errors import AlreadyExists, BarqueError, InvalidArgument
from barque.spi.network import Attachment, Endpoint, EndpointSpec, NetworkSpec, PortBinding
from barque_net_bridge import conntrack
from barque_net_bridge.background import Background
from barque_net_bridge.bindings import Hosts
from barque_net_bridge.links import HostLinks
from barque_net_bridge.namespaces import read_sysctl
from barque_net_bridge.networks import Bridged, Networks
from barque_net_bridge.ports import HostPorts
from barque_net_bridge.records import address_of, guard_rule, port_rules, sound
from barque_net_bridge.ruleset import GuardRule
from barque_net_bridge.sandbox import Plan, connect, prepare, route
from barque_net_bridge.settings import interface_name, mac_address
from barque_net_bridge.slots import Slot, WarmSlots

__all__ = ["Endpoints"]

log = logging.getLogger(__name__)

_SLOT_INTERFACE = "eth0"


class Endpoints:
    """The endpoints of this driver. Thread-safe."""

    def __init__(self, networks: Networks, background: Background, warm: int, warm_maximum: int) -> None:
        self._networks = networks
        self._background = background
        self._links = HostLinks(networks, background)
        self._warm = (warm, warm_maximum)
        self._ports = HostPorts()
        self._lock = threading.Lock()
        self._live: dict[str, Endpoint | None] = {}  # None while an attach is under way
        self._slots: dict[str, WarmSlots] = {}
        self._slot_numbers = itertools.count()

    def attach(self, spec: EndpointSpec, netns: int | None) -> Attachment:
        """Make an endpoint in `netns`, or in a sandbox of our own. On error nothing is left."""
        network = self._networks.get(spec.network.id)
        with ExitStack() as undo:
            self._claim(spec, undo)
            undo.callback(self._ports.release, spec.id)
            ports = self._reserve_ports(spec.id, spec.ports, network)
            endpoint, sandbox = self._interface(spec, network, ports, netns, undo)
            self._publish(endpoint, undo)
            self._live[spec.id] = endpoint
            undo.pop_all()
        return Attachment(endpoint, sandbox)

    def detach(self, endpoint: Endpoint, netns: int | None) -> None:
        """Release what an endpoint has, as much of it as there is. Its link goes with its sandbox, or in a moment."""
        with ExitStack() as steps:  # each is tried, whatever becomes of the others
            if endpoint.host_interface:
                away = self._links.bury if netns is None else self._links.remove
                steps.callback(away, endpoint.host_interface)
            network = self._networks.known().get(endpoint.network_id)
            if network is not None and endpoint.ipv4:
                steps.callback(network.pool.release, address_of(endpoint), endpoint.id)
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
            self._republish(changed, undo)
            gateways = () if network.spec.internal else (network.pool.gateway,)
            route(netns, endpoint.interface, gateways, default=default_route)
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
        with self._lock:
            slots = self._slots.pop(network_id, None)
        if slots is not None:
            slots.close()

    def close(self) -> None:
        """Drop warm slots and give up ports; endpoints stay. Idempotent."""
        for network_id in list(self._slots):
            self.drop_slots(network_id)
        self._ports.close()

    # Attach, step by step. Each step leaves its undoing on the stack.

    def _claim(self, spec: EndpointSpec, undo: ExitStack) -> None:
        interface_name(spec.interface)
        if spec.ipv6:
            raise errors.NotImplemented("the bridge driver has IPv4 only", hint="leave the IPv6 address away")
        with self._lock:
            if spec.id in self._live:
                raise AlreadyExists(f"endpoint {spec.id[:12]} already exists")
            self._live[spec.id] = None
        undo.callback(self._live.pop, spec.id, None)

    def _reserve_ports(
        self, id: str, wanted: tuple[PortBinding, ...], network: Bridged
    ) -> tuple[PortBinding, ...]:
        if not wanted or network.spec.internal:
            return ()
        return self._ports.reserve(id, wanted, Hosts(default=network.options.host_ip))

    def _interface(
        self,
        spec: EndpointSpec,
        network: Bridged,
        ports: tuple[PortBinding, ...],
        netns: int | None,
        undo: ExitStack,
    ) -> tuple[Endpoint, int | None]:
        slot = self._take_slot(spec, network) if netns is None else None
        if slot is not None:
            network.pool.transfer(slot.address, spec.id)
            undo.callback(self._drop_slot, network, replace(slot, owner=spec.id))
            return _endpoint(spec, network, ports, slot.plan), slot.netns
        address = self._address(spec, network)
        undo.callback(network.pool.release, address, spec.id)
        plan = self._plan(
            network, spec.interface, mac_address(spec.mac, address), address, spec.default_route
        )
        undo.callback(self._links.bury, plan.host)
        self._guard(plan)
        if netns is not None:
            connect(self._networks.channel, plan, netns)
            return _endpoint(spec, network, ports, plan), None
        sandbox = prepare(self._networks.channel, plan)
        undo.callback(os.close, sandbox)
        return _endpoint(spec, network, ports, plan), sandbox

    def _publish(self, endpoint: Endpoint, undo: ExitStack) -> None:
        if endpoint.ports:
            undo.callback(self._withdraw, endpoint.id)
            self._republish(endpoint, undo)

    def _republish(self, endpoint: Endpoint, undo: ExitStack) -> None:
        """Publish the endpoint's ports instead of what it had."""
        rules = port_rules(endpoint)
        before = self._networks.firewall.replace(endpoint.id, rules)
        undo.callback(self._networks.firewall.replace, endpoint.id, before)
        changed = set(rules) ^ set(before)
        conntrack.forget_udp({rule.host_port for rule in changed if rule.protocol == "udp"})

    def _withdraw(self, id: str) -> None:
        try:
            rules = self._networks.firewall.withdraw(id)
            conntrack.forget_udp({rule.host_port for rule in rules if rule.protocol == "udp"})
        finally:
            self._ports.release(id)

    def _address(self, spec: EndpointSpec, network: Bridged) -> IPv4Address:
        if not spec.ipv4:
            return network.pool.allocate(spec.id)
        try:
            address = IPv4Interface(spec.ipv4).ip
        except ValueError as error:
            raise InvalidArgument(f"invalid IPv4 address {spec.ipv4!r}") from error
        self._reserve(network, address, spec.id)
        return address

    def _reserve(self, network: Bridged, address: IPv4Address, owner: str) -> None:
        """Take an address, from a warm slot if one has it."""
        slots = self._slots.get(network.spec.id)
        if slots is not None:
            slots.evict(address)
        network.pool.reserve(address, owner)

    def _plan(
        self, network: Bridged, interface: str, mac: str, address: IPv4Address, default_route: bool
    ) -> Plan:
        routed = default_route and not network.spec.internal
        return Plan(
            host=self._links.name(),
            interface=interface,
            mac=mac,
            address=network.pool.interface(address),
            gateway=network.pool.gateway if routed else None,
            bridge=network.link.index,
            group=self._networks.group,
            mtu=network.link.mtu,
            # With br_netfilter a frame to a container's own published port is turned round within the bridge.
            hairpin=read_sysctl("bridge/bridge-nf-call-iptables") == "1",
            isolated=not network.options.icc,
        )

    def _guard(self, plan: Plan) -> None:
        self._networks.firewall.guard(GuardRule(plan.host, plan.mac, str(plan.address.ip)))

    def _take_slot(self, spec: EndpointSpec, network: Bridged) -> Slot | None:
        plain = not spec.mac and not spec.ipv4 and spec.default_route and spec.interface == _SLOT_INTERFACE
        if not plain or not network.options.default or self._warm[1] == 0:
            return None
        with self._lock:
            slots = self._slots.get(network.spec.id)
            if slots is None:
                slots = WarmSlots(
                    lambda: self._make_slot(network),
                    lambda slot: self._drop_slot(network, slot),
                    self._background,
                    *self._warm,
                )
                self._slots[network.spec.id] = slots
        return slots.take()

    def _make_slot(self, network: Bridged) -> Slot:
        owner = f"slot {next(self._slot_numbers)}"
        address = network.pool.allocate(owner)
        plan = self._plan(network, _SLOT_INTERFACE, mac_address("", address), address, True)
        try:
            self._guard(plan)
            return Slot(prepare(self._networks.channel, plan), owner, address, plan)
        except BaseException:
            self._links.bury(plan.host)
            network.pool.release(address, owner)
            raise

    def _drop_slot(self, network: Bridged, slot: Slot) -> None:
        os.close(slot.netns)  # the last descriptor: the kernel removes the veth pair
        self._links.bury(slot.plan.host)
        network.pool.release(slot.address, slot.owner)

    def _readmit(self, endpoint: Endpoint) -> None:
        """Take what a living endpoint has. What it has lost meanwhile does not keep the daemon from starting."""
        network = self._networks.get(endpoint.network_id)
        self._live[endpoint.id] = endpoint
        try:
            self._reserve(network, address_of(endpoint), endpoint.id)
        except BarqueError as error:
            log.warning("endpoint %s: %s", endpoint.id[:12], error)
        self._ports.restore(endpoint.id, endpoint.ports)


def _endpoint(spec: EndpointSpec, network: Bridged, ports: tuple[PortBinding, ...], plan: Plan) -> Endpoint:
    return Endpoint(
        id=spec.id,
        network_id=network.spec.id,
        container_id=spec.container_id,
        interface=plan.interface,
        host_interface=plan.host,
        mac=plan.mac,
        ipv4=str(plan.address),
        gateway4="" if network.spec.internal else network.spec.subnets[0].gateway,
        ports=ports,
        default_route=spec.default_route,
    )
