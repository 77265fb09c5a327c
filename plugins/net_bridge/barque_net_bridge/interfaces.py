"""The interfaces of endpoints: which addresses they get, and the sandboxes that are ready before anybody asks."""

from __future__ import annotations

import itertools
import os
import threading
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface

from barque.spi.errors import InvalidArgument
from barque.spi.network import EndpointSpec
from barque_net_bridge.background import Background
from barque_net_bridge.endpoint_options import interface_of, link_local_of, sysctls_of
from barque_net_bridge.guarding import GuardRule
from barque_net_bridge.ipam import Address, AddressPool
from barque_net_bridge.links import HostLinks
from barque_net_bridge.namespaces import read_sysctl
from barque_net_bridge.networks import Bridged, Networks
from barque_net_bridge.sandbox import Plan, connect, prepare
from barque_net_bridge.settings import mac_address
from barque_net_bridge.slots import Slot, WarmSlots

__all__ = ["Interfaces"]

_SLOT_INTERFACE = "eth0"


class Interfaces:
    """Makes interfaces, some of them beforehand. Thread-safe."""

    def __init__(
        self, networks: Networks, background: Background, links: HostLinks, warm: int, warm_maximum: int
    ) -> None:
        self._networks = networks
        self._background = background
        self._links = links
        self._warm = (warm, warm_maximum)
        self._lock = threading.Lock()
        self._slots: dict[str, WarmSlots] = {}
        self._slot_numbers = itertools.count()

    def make(
        self, spec: EndpointSpec, network: Bridged, netns: int | None, undo: ExitStack
    ) -> tuple[Plan, int | None]:
        """Make an endpoint's interface in `netns`, or in a sandbox of our own, which is returned. Its undoing is left on the stack."""
        interface = interface_of(spec, network.options)
        slot = self._take_slot(spec, network, interface) if netns is None else None
        if slot is not None:
            network.pools[0].transfer(slot.address, spec.id)
            undo.callback(self._drop_slot, network, replace(slot, owner=spec.id))
            return slot.plan, slot.netns
        addresses: list[Address] = []
        for pool in network.pools:
            addresses.append(self._address(spec, network, pool))
            undo.callback(pool.release, addresses[-1], spec.id)
        # Of the address that was asked for: where it comes again, it is with the same hardware address.
        named = addresses[-1] if spec.ipv6 and not spec.ipv4 else addresses[0]
        mac = mac_address(spec.mac, named.packed)
        plan = self._plan(network, interface, mac, addresses, spec.default_route)
        if spec.options or spec.link_local:
            sysctls = sysctls_of(spec.options, interface)
            plan = replace(plan, more=link_local_of(spec), sysctls=sysctls)
        undo.callback(self._links.bury, plan.host)
        self._guard(plan)
        if netns is not None:
            connect(self._networks.channel, plan, netns)
            return plan, None
        sandbox = prepare(self._networks.channel, plan)
        undo.callback(os.close, sandbox)
        return plan, sandbox

    def reserve(self, network: Bridged, address: Address, owner: str) -> None:
        """Take an address, from a warm slot if one has it. Errors: Conflict, InvalidArgument."""
        pool = network.pool(address.version)
        if pool is None:
            raise InvalidArgument(f"no configured subnet or ip-range contain the IP address {address}")
        slots = self._slots.get(network.spec.id)
        if slots is not None:
            slots.evict(address)
        pool.reserve(address, owner)

    def drop_slots(self, network_id: str) -> None:
        """Drop the warm slots of a network. Idempotent."""
        with self._lock:
            slots = self._slots.pop(network_id, None)
        if slots is not None:
            slots.close()

    def close(self) -> None:
        """Drop all warm slots. Idempotent."""
        for network_id in list(self._slots):
            self.drop_slots(network_id)

    def _address(self, spec: EndpointSpec, network: Bridged, pool: AddressPool) -> Address:
        four = pool.subnet.version == 4
        wanted = spec.ipv4 if four else spec.ipv6
        if not wanted:
            return pool.allocate(spec.id)
        try:
            address = IPv4Interface(wanted).ip if four else IPv6Interface(wanted).ip
        except ValueError as error:
            raise InvalidArgument(f"invalid IPv{pool.subnet.version} address {wanted!r}") from error
        self.reserve(network, address, spec.id)
        return address

    def _plan(
        self, network: Bridged, interface: str, mac: str, addresses: list[Address], default_route: bool
    ) -> Plan:
        return Plan(
            host=self._links.name(),
            interface=interface,
            mac=mac,
            addresses=tuple(
                pool.interface(address) for pool, address in zip(network.pools, addresses, strict=True)
            ),
            gateways=network.gateways if default_route else (),
            bridge=network.link.index,
            group=self._networks.group,
            mtu=network.link.mtu,
            # With br_netfilter a frame to a container's own published port is turned round within the bridge.
            hairpin=read_sysctl("bridge/bridge-nf-call-iptables") == "1",
            isolated=not network.options.icc,
        )

    def _guard(self, plan: Plan) -> None:
        addresses = tuple(str(address.ip) for address in (*plan.addresses, *plan.more))
        self._networks.firewall.guard(GuardRule(plan.host, plan.mac, addresses))

    def _take_slot(self, spec: EndpointSpec, network: Bridged, interface: str) -> Slot | None:
        asks = spec.mac or spec.ipv4 or spec.link_local or spec.options
        plain = not asks and spec.default_route and interface == _SLOT_INTERFACE
        alone = network.options.default and len(network.pools) == 1 and network.spec.ipv4
        if not plain or not alone or self._warm[1] == 0:
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
        pool = network.pools[0]
        address = pool.allocate(owner)
        plan = self._plan(network, _SLOT_INTERFACE, mac_address("", address.packed), [address], True)
        try:
            self._guard(plan)
            return Slot(prepare(self._networks.channel, plan), owner, address, plan)
        except BaseException:
            self._links.bury(plan.host)
            pool.release(address, owner)
            raise

    def _drop_slot(self, network: Bridged, slot: Slot) -> None:
        os.close(slot.netns)  # the last descriptor: the kernel removes the veth pair
        self._links.bury(slot.plan.host)
        network.pools[0].release(slot.address, slot.owner)
