"""Addresses: which subnet a network gets, and which address an endpoint gets."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import TypeAlias

from barque.spi.errors import Conflict, InvalidArgument, ResourceExhausted
from barque_net_bridge.surroundings import Span

__all__ = ["Address", "AddressPool", "Interface", "IpNetwork", "choose_subnet"]

Address: TypeAlias = IPv4Address | IPv6Address
Interface: TypeAlias = IPv4Interface | IPv6Interface
IpNetwork: TypeAlias = IPv4Network | IPv6Network


def choose_subnet(ranges: Iterable[tuple[IpNetwork, int]], taken: Iterable[Span]) -> IpNetwork:
    """The first subnet in the ranges (each with the prefix length of its subnets) that overlaps nothing taken; all of one
    IP version. Errors: ResourceExhausted."""
    used = sorted(set(taken))
    version = 4
    for within, prefix in ranges:
        version = within.version
        size = 1 << (within.max_prefixlen - prefix)
        first, end = int(within.network_address), int(within.broadcast_address)
        for start, last in used:
            if start >= first + size:
                break
            if last >= first:
                first = (last // size + 1) * size
        if first + size - 1 <= end:
            return IPv4Network((first, prefix)) if version == 4 else IPv6Network((first, prefix))
    raise ResourceExhausted(
        f"could not find an available, non-overlapping IPv{version} address pool among the defaults to assign to the network",
        hint="remove unused networks, or name a subnet with --subnet",
    )


class AddressPool:
    """The addresses of one subnet, each with its owner. Thread-safe.

    Addresses are given out in a circle, so one that was released is not soon somebody else's. They are taken from `ip_range`, a part of
    the subnet, where there is one; `auxiliary` ones are never given out.
    """

    def __init__(
        self,
        subnet: IpNetwork,
        gateway: Address | None,
        ip_range: IpNetwork | None = None,
        auxiliary: Iterable[Address] = (),
    ) -> None:
        self.subnet = subnet
        self.gateway = gateway
        self.span = (int(subnet.network_address), int(subnet.broadcast_address))
        self._lock = threading.Lock()
        self._owners: dict[int, str] = {int(address): "auxiliary" for address in auxiliary}
        if gateway is not None:
            self._owners[int(gateway)] = "gateway"
        # Without the network's own address (IPv6: that of all its routers) and the broadcast address.
        self._lowest = int(subnet.network_address) + 1
        self._highest = int(subnet.broadcast_address) - (subnet.version == 4)
        within = ip_range or subnet
        self._first = max(self._lowest, int(within.network_address))
        self._size = min(self._highest, int(within.broadcast_address)) - self._first + 1
        self._next = 0

    def interface(self, address: Address) -> Interface:
        """`address` with the subnet's prefix length."""
        kind = IPv4Interface if self.subnet.version == 4 else IPv6Interface
        return kind((int(address), self.subnet.prefixlen))

    def allocate(self, owner: str) -> Address:
        """The next free address. Errors: ResourceExhausted."""
        with self._lock:
            # Among one more than are taken there is a free one, if there is any.
            for step in range(self._next, self._next + min(self._size, len(self._owners) + 1)):
                value = self._first + step % self._size
                if value not in self._owners:
                    self._next = (step + 1) % self._size
                    self._owners[value] = owner
                    return self._address(value)
        raise ResourceExhausted(
            f"no available IPv{self.subnet.version} addresses on this network's address pools: {self.subnet}",
            hint="disconnect containers from the network",
        )

    def reserve(self, address: Address, owner: str) -> None:
        """Take this address. Again for the same owner: nothing changes. Errors: InvalidArgument, Conflict."""
        if address.version != self.subnet.version or not self._lowest <= int(address) <= self._highest:
            raise InvalidArgument(
                f"no configured subnet or ip-range contain the IP address {address}",
                hint=f"the network's subnet is {self.subnet}",
            )
        with self._lock:
            if self._owners.setdefault(int(address), owner) != owner:
                raise Conflict(
                    f"Address already in use: {address}", hint="choose another, or let Barque choose"
                )

    def owner(self, address: Address) -> str:
        """Who has this address, empty when nobody."""
        return self._owners.get(int(address), "")

    def transfer(self, address: Address, owner: str) -> None:
        """Give an address that is taken to another owner."""
        with self._lock:
            self._owners[int(address)] = owner

    def release(self, address: Address, owner: str) -> None:
        """Free an address, if `owner` has it. Idempotent: a late second call cannot free a successor's."""
        with self._lock:
            if self._owners.get(int(address)) == owner:
                del self._owners[int(address)]

    def _address(self, value: int) -> Address:
        return IPv4Address(value) if self.subnet.version == 4 else IPv6Address(value)
