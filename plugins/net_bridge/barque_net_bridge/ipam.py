"""Addresses: which subnet a network gets, and which address an endpoint gets."""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from barque.spi.errors import Conflict, InvalidArgument, ResourceExhausted

__all__ = ["AddressPool", "choose_subnet"]


def choose_subnet(candidates: Iterable[IPv4Network], taken: Iterable[IPv4Network]) -> IPv4Network:
    """The first candidate that overlaps nothing taken. Errors: ResourceExhausted."""
    used = sorted({(int(network.network_address), int(network.broadcast_address)) for network in taken})
    starts = [first for first, _ in used]
    reach = list(itertools.accumulate((last for _, last in used), max))  # how far those up to here extend
    for candidate in candidates:
        before = bisect.bisect_right(starts, int(candidate.broadcast_address))
        if before == 0 or reach[before - 1] < int(candidate.network_address):
            return candidate
    raise ResourceExhausted(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
        hint="remove unused networks, or name a subnet with --subnet",
    )


class AddressPool:
    """The addresses of one subnet, each with its owner. Thread-safe.

    Addresses are given out in a circle, so one that was released is not soon somebody else's.
    """

    def __init__(self, subnet: IPv4Network, gateway: IPv4Address) -> None:
        self.subnet = subnet
        self.gateway = gateway
        self._lock = threading.Lock()
        self._owners: dict[int, str] = {int(gateway): "gateway"}
        self._first = int(subnet.network_address) + 1
        self._size = subnet.num_addresses - 2  # without the network's own and the broadcast address
        self._next = 0

    def interface(self, address: IPv4Address) -> IPv4Interface:
        """`address` with the subnet's prefix length."""
        return IPv4Interface((address, self.subnet.prefixlen))

    def allocate(self, owner: str) -> IPv4Address:
        """The next free address. Errors: ResourceExhausted."""
        with self._lock:
            for step in itertools.islice(itertools.count(self._next), self._size):
                value = self._first + step % self._size
                if value not in self._owners:
                    self._next = (step + 1) % self._size
                    self._owners[value] = owner
                    return IPv4Address(value)
        raise ResourceExhausted(
            f"no available IPv4 addresses in subnet {self.subnet}",
            hint="disconnect containers from the network",
        )

    def reserve(self, address: IPv4Address, owner: str) -> None:
        """Take this address. Again for the same owner: nothing changes. Errors: InvalidArgument, Conflict."""
        offset = int(address) - self._first
        if not 0 <= offset < self._size:
            raise InvalidArgument(
                f"invalid address {address}: it does not belong to subnet {self.subnet} of this network"
            )
        with self._lock:
            if self._owners.setdefault(int(address), owner) != owner:
                raise Conflict(
                    f"address {address} is already in use", hint="choose another, or let Barque choose"
                )

    def owner(self, address: IPv4Address) -> str:
        """Who has this address, empty when nobody."""
        return self._owners.get(int(address), "")

    def transfer(self, address: IPv4Address, owner: str) -> None:
        """Give an address that is taken to another owner."""
        with self._lock:
            self._owners[int(address)] = owner

    def release(self, address: IPv4Address, owner: str) -> None:
        """Free an address, if `owner` has it. Idempotent: a late second call cannot free a successor's."""
        with self._lock:
            if self._owners.get(int(address)) == owner:
                del self._owners[int(address)]
