"""What the drivers `macvlan` and `ipvlan` have in common: everything but the kind of link."""

from __future__ import annotations

import errno
import re
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from time import monotonic, sleep
from typing import TypeVar

from barque.spi import Probe, hookimpl
from barque.spi.common import Problem
from barque.spi.errors import AlreadyExists, BarqueError, Conflict, FailedPrecondition, InvalidArgument
from barque.spi.network import (
    Attachment,
    Endpoint,
    EndpointSpec,
    NetworkCapability,
    NetworkHooks,
    NetworkSpec,
    PortBinding,
)
from barque_net_macvlan import links
from barque_net_macvlan.namespaces import in_namespace, write_sysctl
from barque_net_macvlan.netlink import Channel
from barque_net_macvlan.networks import Networks, Realised, log
from barque_net_macvlan.options import Kind, checked_interface
from barque_net_macvlan.probing import lacks
from barque_net_macvlan.refusals import kernel

__all__ = ["ParentedNetwork"]

T = TypeVar("T")

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_TAKING_DOWN, _PAUSE, _SETTLING = 3.0, 0.05, 0.2  # seconds
_INDEX = "index"  # in `Endpoint.data`: the link's number in its sandbox, whatever the container calls it


class ParentedNetwork(NetworkHooks):
    """Endpoints are links on a link of the host, the network's parent. Hooks take turns: they are short."""

    capabilities = frozenset({NetworkCapability.CREATE, NetworkCapability.CONNECT, NetworkCapability.IPV6})

    def __init__(self, kind: Kind, pool: str, prefix: int) -> None:
        self._kind = kind
        self._lock = threading.Lock()
        self._networks = Networks(kind, pool, prefix)

    @hookimpl
    def network_probe(self) -> Probe:
        """Whether the kernel has this kind of link; tried in a network namespace of its own."""
        problem = lacks(self._kind)
        remedy = f"a kernel with CONFIG_{self._kind.name.upper()}"
        return Probe((Problem(problem, remedy),) if problem else ())

    @hookimpl
    def network_create(self, spec: NetworkSpec) -> NetworkSpec:
        """The parent is made where it is a VLAN of a link that is there, or where none is named: then the network is internal."""
        with self._lock:
            return self._networks.create(spec)

    @hookimpl
    def network_remove(self, spec: NetworkSpec) -> None:
        """See NetworkHooks. A parent that was there before stays."""
        with self._lock:
            self._networks.remove(spec.id)

    @hookimpl
    def network_attach(self, spec: EndpointSpec, netns: int | None) -> Attachment:
        """See NetworkHooks. Ports are not published: the container is on the network itself."""
        with self._lock:
            network = self._networks.find(spec.network.id)
            if spec.id in network.endpoints:
                raise AlreadyExists(f"endpoint {spec.id[:12]} exists already")
            if netns is None:
                raise InvalidArgument(f"a {self._kind.name} endpoint needs a sandbox")
            with ExitStack() as undo:
                endpoint = self._addressed(spec, network, undo)
                with kernel(f"making {endpoint.interface} on {network.parent.name}"):
                    endpoint = self._linked(endpoint, network, netns, bool(spec.mac))
                undo.pop_all()
            network.endpoints[spec.id] = endpoint
            return Attachment(endpoint)

    def _addressed(self, spec: EndpointSpec, network: Realised, undo: ExitStack) -> Endpoint:
        """The endpoint with its addresses reserved. Errors: InvalidArgument, Conflict, ResourceExhausted."""
        if spec.mac and not self._kind.own_mac:
            raise InvalidArgument("ipvlan interfaces do not support custom mac address assignment")
        found = Endpoint(
            spec.id,
            network.spec.id,
            spec.container_id,
            interface=checked_interface(spec.interface),
            mac=_checked_mac(spec.mac),
            default_route=spec.default_route,
        )
        gateways = not (network.spec.internal or self._kind.routed(network.mode))
        for version, wanted in ((4, spec.ipv4), (6, spec.ipv6)):
            pool = network.pools.get(version)
            if pool is None:
                if wanted:
                    raise InvalidArgument(f"invalid address {wanted}: the network has no IPv{version} subnet")
                continue
            address = pool.take(wanted, spec.id)
            undo.callback(pool.release, address, spec.id)
            fields = {f"ipv{version}": f"{address}/{pool.network.prefixlen}"}
            if gateways:
                fields[f"gateway{version}"] = str(pool.gateway)
            found = replace(found, **fields)  # type: ignore[arg-type]  # they are strings
        return replace(found, mac=found.mac or self._made_up_mac(found.ipv4))

    def _made_up_mac(self, ipv4: str) -> str:
        """Of the address, so that a neighbour's ARP entry stays true; "" where links have none of their own."""
        if not self._kind.own_mac:
            return ""
        packed = IPv4Interface(ipv4).ip.packed if ipv4 else secrets.token_bytes(4)
        return (b"\x02\x42" + packed).hex(":")

    def _linked(self, endpoint: Endpoint, network: Realised, netns: int, fixed_mac: bool) -> Endpoint:
        """Make the link and what is to be said in the sandbox; on an error the link is gone."""
        with Channel() as channel:
            parent = links.find(channel, network.parent.name)
            if parent is None:
                raise Conflict(f"parent interface {network.parent.name} has gone")
            mac = bytes.fromhex(endpoint.mac.replace(":", ""))
            info = self._kind.info(network.mode)
            links.add_slave(channel, endpoint.interface, self._kind.name, info, parent.index, mac, netns)

        def furnish(inside: Channel) -> Endpoint:
            link = links.find(inside, endpoint.interface)
            index = link.index if link else 0
            try:
                _furnish(inside, index, endpoint)
                mac = _bring_up(inside, index, endpoint.mac, fixed_mac)
                _settle(inside, index)
                if endpoint.default_route:
                    self._route(inside, index, endpoint, network, add=True)
            except BaseException:
                links.delete(inside, index)
                raise
            return replace(endpoint, mac=mac, data={_INDEX: str(index)})

        return _within(netns, furnish)

    def _route(
        self, inside: Channel, index: int, endpoint: Endpoint, network: Realised | None, *, add: bool
    ) -> None:
        straight = network is not None and self._kind.routed(network.mode) and not network.spec.internal
        change = links.add_route if add else links.delete_route
        ways = ((endpoint.ipv4, endpoint.gateway4), (endpoint.ipv6, endpoint.gateway6))
        for address, gateway in ways:
            if address and (gateway or straight):
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                change(inside, index, family, ip_address(gateway).packed if gateway else b"")

    @hookimpl
    def network_detach(self, endpoint: Endpoint, netns: int | None) -> None:
        """See NetworkHooks. Without a sandbox the link has gone with it."""
        with self._lock:
            network = self._networks.known(endpoint.network_id)
            if netns is not None:
                with kernel(f"removing {endpoint.interface}"):
                    _within(netns, lambda inside: self._unlink(inside, endpoint))
            if network is not None and network.endpoints.pop(endpoint.id, None) is not None:
                network.release(endpoint)

    def _reroute(self, inside: Channel, endpoint: Endpoint, network: Realised, default_route: bool) -> None:
        if not self._ours(inside, endpoint):
            raise FailedPrecondition(f"the container has no interface {endpoint.interface} any more")
        self._route(inside, _index(endpoint), endpoint, network, add=default_route)

    def _ours(self, inside: Channel, endpoint: Endpoint) -> bool:
        wanted = (_index(endpoint), self._kind.name)
        return any((link.index, link.kind) == wanted for link in links.links(inside))

    def _unlink(self, inside: Channel, endpoint: Endpoint) -> None:
        if self._ours(inside, endpoint):
            links.delete(inside, _index(endpoint))

    @hookimpl
    def network_update(
        self,
        endpoint: Endpoint,
        netns: int,
        default_route: bool,
        ports: tuple[PortBinding, ...],  # noqa: ARG002
    ) -> Endpoint:
        """See NetworkHooks. There are no ports to publish."""
        with self._lock:
            network = self._networks.find(endpoint.network_id)
            with kernel(f"changing the route through {endpoint.interface}"):
                _within(netns, lambda inside: self._reroute(inside, endpoint, network, default_route))
            changed = replace(endpoint, default_route=default_route)
            if endpoint.id in network.endpoints:
                network.endpoints[endpoint.id] = changed
            return changed

    @hookimpl
    def network_restore(self, networks: tuple[NetworkSpec, ...], endpoints: tuple[Endpoint, ...]) -> None:
        """See NetworkHooks. A record that is damaged is logged and left out: it must not keep the others from coming back."""
        with self._lock:
            self._networks.keep_only(networks)
            for spec in networks:
                network = self._networks.known(spec.id)
                if network is not None:
                    for endpoint in tuple(network.endpoints.values()):
                        network.release(endpoint)
                    network.endpoints.clear()
            for endpoint in endpoints:
                try:
                    self._take_back(endpoint)
                except (BarqueError, ValueError) as error:
                    log.error("endpoint %s is not restored: %s", endpoint.id[:12], error)

    def _take_back(self, endpoint: Endpoint) -> None:
        network = self._networks.find(endpoint.network_id)
        for address in filter(None, (endpoint.ipv4, endpoint.ipv6)):
            interface = ip_interface(address)
            network.pools[interface.version].take(str(interface.ip), endpoint.id)
        network.endpoints[endpoint.id] = endpoint

    @hookimpl
    def network_close(self) -> None:
        """Nothing runs."""


def _checked_mac(mac: str) -> str:
    if mac and (not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1):
        raise InvalidArgument(f"invalid MAC address {mac!r}", hint="six hex bytes, the first one even")
    return mac.lower()


def _index(endpoint: Endpoint) -> int:
    value = endpoint.data.get(_INDEX, "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else 0


def _within(netns: int, work: Callable[[Channel], T]) -> T:
    """The result of `work` with a channel of the sandbox."""

    def visit() -> T:
        with Channel() as inside:
            return work(inside)

    return in_namespace(netns, visit)


def _furnish(inside: Channel, index: int, endpoint: Endpoint) -> None:
    """Loopback up, and the link with the endpoint's addresses and no others."""
    loopback = links.find(inside, "lo")
    if loopback is not None:
        links.set_up(inside, loopback.index)
    if not endpoint.ipv6:
        write_sysctl(f"ipv6/conf/{endpoint.interface}/disable_ipv6", "1")
    else:
        for setting in ("accept_ra", "accept_dad"):  # its addresses are chosen here, and usable at once
            write_sysctl(f"ipv6/conf/{endpoint.interface}/{setting}", "0")
    for address in filter(None, (endpoint.ipv4, endpoint.ipv6)):
        interface: IPv4Interface | IPv6Interface = ip_interface(address)
        links.add_address(inside, index, interface)


def _settle(inside: Channel, index: int) -> None:
    """The kernel takes an address into use behind the answer, also without looking for duplicates: the link-local one may lag."""
    deadline = monotonic() + _SETTLING
    while links.tentative(inside, index) and monotonic() < deadline:
        sleep(_SETTLING / 100)


def _bring_up(inside: Channel, index: int, mac: str, fixed: bool) -> str:
    """Bring the link up; its hardware address then. One that a former link still has, which the kernel is about to take
    down, is waited for if it is `fixed`, else replaced."""
    deadline = monotonic() + _TAKING_DOWN
    while True:
        try:
            links.set_up(inside, index)
            return mac
        except OSError as error:
            if error.errno != errno.EADDRINUSE or monotonic() > deadline:
                raise
        if fixed:
            sleep(_PAUSE)
        else:
            mac = (b"\x02\x42" + secrets.token_bytes(4)).hex(":")
            links.set_mac(inside, index, bytes.fromhex(mac.replace(":", "")))
