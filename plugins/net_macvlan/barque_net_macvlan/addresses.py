"""Which subnets a network has, and which of their addresses are whose."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from barque.spi.errors import Conflict, InvalidArgument, ResourceExhausted
from barque.spi.network import NetworkSpec, Subnet

__all__ = ["Address", "Network", "Pool", "complete", "parsed"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_V6_PREFIX = 64


def parsed(text: str, what: str) -> Address:
    """An address. Errors: InvalidArgument."""
    try:
        return ip_address(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid {what} {text!r}: {error}") from None


def complete(
    spec: NetworkSpec, pool: str, prefix: int, taken: Iterable[Network], in_use: Iterable[Network]
) -> tuple[Subnet, ...]:
    """The subnets of a network: those it names, checked, with gateways, and chosen ones for families it has none of.

    `pool` is where IPv4 subnets of length `prefix` are chosen from. Nothing may overlap `taken`. What the host has routes to
    (`in_use`) may be named, since it is what the parent is for, but it is not chosen.
    Errors: InvalidArgument, Conflict, ResourceExhausted.
    """
    used = list(taken)
    found: list[Subnet] = []
    for subnet in spec.subnets:
        network = _network(subnet)
        if any(network.version == other.version and network.overlaps(other) for other in used):
            raise Conflict("invalid pool request: Pool overlaps with other one on this address space")
        used.append(network)
        found.append(_with_gateway(subnet, network))
    versions = {_network(subnet).version for subnet in found}
    if spec.ipv4 and 4 not in versions:
        found.append(_with_gateway(Subnet(""), _free(pool, prefix, [*used, *in_use])))
    if spec.ipv6 and 6 not in versions:
        unique = int(IPv6Address("fd00::")) | secrets.randbits(40) << 80
        found.append(_with_gateway(Subnet(""), IPv6Network((unique, _V6_PREFIX))))
    return tuple(found)


def _network(subnet: Subnet) -> Network:
    try:
        network = ip_network(subnet.cidr)
    except ValueError as error:
        raise InvalidArgument(f"invalid subnet {subnet.cidr!r}: {error}") from None
    if network.max_prefixlen - network.prefixlen < 2:
        raise InvalidArgument(
            f"subnet {network} has no room for containers", hint="use a shorter prefix, such as /24"
        )
    if subnet.ip_range:
        try:
            part = ip_network(subnet.ip_range)
        except ValueError as error:
            raise InvalidArgument(f"invalid range {subnet.ip_range!r}: {error}") from None
        if part.version != network.version or not part.subnet_of(network):  # type: ignore[arg-type]  # same version
            raise InvalidArgument(f"no matching subnet for range {subnet.ip_range}")
    return network


def _with_gateway(subnet: Subnet, network: Network) -> Subnet:
    """Complete; the gateway is the first address where none is named. On the parent's own network it is a router."""
    gateway = parsed(subnet.gateway, "gateway") if subnet.gateway else network.network_address + 1
    if gateway not in network or gateway == network.network_address:
        raise InvalidArgument(f"gateway {gateway} is no host address of subnet {network}")
    if network.version == 4 and gateway == network.broadcast_address:
        raise InvalidArgument(f"gateway {gateway} is no host address of subnet {network}")
    for name, address in subnet.auxiliary.items():
        if parsed(address, f"auxiliary address {name}") not in network:
            raise InvalidArgument(f"no matching subnet for aux-address {address}")
    return Subnet(str(network), str(gateway), subnet.ip_range, dict(subnet.auxiliary))


def _free(pool: str, prefix: int, used: list[Network]) -> IPv4Network:
    """The last one that is free: the bridge driver, which does not know of this one, chooses from the front."""
    candidates = list(IPv4Network(pool).subnets(new_prefix=prefix))
    for candidate in reversed(candidates):
        if not any(other.version == 4 and candidate.overlaps(other) for other in used):
            return candidate
    raise ResourceExhausted(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
        hint="remove unused networks, or name a subnet with --subnet",
    )


class Pool:
    """The addresses of one subnet, each with its owner. Given out in a circle: one that was released is not soon another's."""

    def __init__(self, subnet: Subnet) -> None:
        self.network = ip_network(subnet.cidr)
        self.gateway = ip_address(subnet.gateway)
        self._owners: dict[int, str] = {int(self.gateway): "gateway"}
        for name, address in subnet.auxiliary.items():
            self._owners[int(ip_address(address))] = f"auxiliary {name}"
        part = ip_network(subnet.ip_range) if subnet.ip_range else self.network
        last = int(self.network.broadcast_address) - (1 if self.network.version == 4 else 0)
        self._first = max(int(part.network_address), int(self.network.network_address) + 1)
        self._size = min(int(part.broadcast_address), last) - self._first + 1
        self._next = 0

    def take(self, wanted: str, owner: str) -> Address:
        """The address `wanted`, or with "" the next free one. Errors: InvalidArgument, Conflict, ResourceExhausted."""
        return self._reserve(parsed(wanted, "address"), owner) if wanted else self._allocate(owner)

    def release(self, address: Address, owner: str) -> None:
        """Free an address, if `owner` has it."""
        if self._owners.get(int(address)) == owner:
            del self._owners[int(address)]

    def _reserve(self, address: Address, owner: str) -> Address:
        edges = {self.network.network_address}
        if self.network.version == 4:
            edges.add(self.network.broadcast_address)
        if address not in self.network or address in edges:
            raise InvalidArgument(f"no configured subnet or ip-range contain the IP address {address}")
        if self._owners.setdefault(int(address), owner) != owner:
            raise Conflict("Address already in use", hint=f"choose another than {address}")
        return address

    def _allocate(self, owner: str) -> Address:
        for step in self._places():
            value = self._first + step
            if value not in self._owners:
                self._next = (step + 1) % self._size
                self._owners[value] = owner
                return self.network.network_address + (value - int(self.network.network_address))
        raise ResourceExhausted(
            f"no available IPv{self.network.version} addresses on this network's address pools: {self.network}"
        )

    def _places(self) -> Iterator[int]:
        """Each place once, from where the last search ended; no more than there are owners can be taken."""
        most = min(self._size, len(self._owners) + 1)
        return ((self._next + step) % self._size for step in itertools.islice(itertools.count(), most))
