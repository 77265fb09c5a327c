from __future__ import annotations

import threading
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.spi.errors import Conflict, InvalidArgument, ResourceExhausted
from barque_net_bridge.ipam import AddressPool, choose_subnet


def pool(cidr: str = "10.0.0.0/29") -> AddressPool:
    network = IPv4Network(cidr)
    return AddressPool(network, network.network_address + 1)


def networks() -> st.SearchStrategy[IPv4Network]:
    return st.builds(
        lambda value, prefix: IPv4Network((value & 0x0A00FFFF | 0x0A000000, prefix), strict=False),
        st.integers(0, 0xFFFFFFFF),
        st.integers(14, 32),
    )


@given(st.lists(networks(), max_size=12))
def test_chosen_subnet_is_the_first_that_overlaps_nothing(taken: list[IPv4Network]) -> None:
    candidates = list(IPv4Network("10.0.0.0/16").subnets(new_prefix=20))
    whole = [(IPv4Network("10.0.0.0/16"), 20)]
    spans = [(int(one.network_address), int(one.broadcast_address)) for one in taken]
    free = [one for one in candidates if not any(one.overlaps(other) for other in taken)]
    if free:
        assert choose_subnet(whole, spans) == free[0]
    else:
        with pytest.raises(ResourceExhausted, match="non-overlapping IPv4 address pool"):
            choose_subnet(whole, spans)


def test_addresses_go_round_and_skip_gateway_and_ends() -> None:
    addresses = pool()
    first = [str(addresses.allocate("a")) for _ in range(5)]
    assert first == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    with pytest.raises(ResourceExhausted, match=r"10\.0\.0\.0/29"):
        addresses.allocate("b")
    addresses.release(IPv4Address("10.0.0.4"), "a")
    addresses.release(IPv4Address("10.0.0.2"), "a")
    assert [str(addresses.allocate("b")) for _ in range(2)] == ["10.0.0.2", "10.0.0.4"]


def test_release_is_for_the_owner_only() -> None:
    addresses = pool()
    address = addresses.allocate("a")
    addresses.release(address, "b")
    assert addresses.owner(address) == "a"
    addresses.transfer(address, "b")
    addresses.release(address, "a")
    assert addresses.owner(address) == "b"
    addresses.release(address, "b")
    addresses.release(address, "b")
    assert addresses.owner(address) == ""


def test_reserve() -> None:
    addresses = pool()
    wanted = IPv4Address("10.0.0.5")
    addresses.reserve(wanted, "a")
    addresses.reserve(wanted, "a")
    with pytest.raises(Conflict, match="Address already in use"):
        addresses.reserve(wanted, "b")
    with pytest.raises(Conflict):
        addresses.reserve(addresses.gateway, "b")
    for outside in ("10.0.0.0", "10.0.0.7", "10.0.0.8", "9.255.255.255"):
        with pytest.raises(InvalidArgument, match="no configured subnet or ip-range contain the IP address"):
            addresses.reserve(IPv4Address(outside), "b")
    assert wanted not in [addresses.allocate("c") for _ in range(4)]


def test_threads_get_addresses_of_their_own() -> None:
    addresses = pool("10.0.0.0/22")
    got: list[IPv4Address] = []
    threads = [
        threading.Thread(target=lambda: got.extend(addresses.allocate("x") for _ in range(100)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 800
