from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from barque.spi.errors import Conflict, InvalidArgument, ResourceExhausted
from barque.spi.network import NetworkSpec, Subnet
from barque_net_bridge.ipam import AddressPool
from barque_net_bridge.plugin import BridgeConfig
from barque_net_bridge.settings import options_of
from barque_net_bridge.subnets import completed, refuse_overlap, unique_local, wanted_subnets

PLAIN = options_of(NetworkSpec("i", "n"))


def pool(cidr: str) -> AddressPool:
    return AddressPool(ip_network(cidr), None)


def complete(wanted: Subnet, version: int = 4, taken: tuple[str, ...] = ()) -> tuple[Subnet, AddressPool]:
    return completed(wanted, version, PLAIN, BridgeConfig(), lambda: [pool(one).span for one in taken])


def test_each_family_gets_its_subnet() -> None:
    both = NetworkSpec("i", "n", (Subnet("fd00::/64"), Subnet("10.0.0.0/24")), ipv6=True)
    assert {version: subnet.cidr for version, subnet in wanted_subnets(both).items()} == {
        4: "10.0.0.0/24", 6: "fd00::/64",
    }  # fmt: skip
    assert wanted_subnets(NetworkSpec("i", "n", ipv6=True)) == {4: Subnet(""), 6: Subnet("")}
    assert list(wanted_subnets(NetworkSpec("i", "n", ipv4=False, ipv6=True))) == [6]
    gateway_only = NetworkSpec("i", "n", (Subnet("", "10.89.0.9"),))
    assert wanted_subnets(gateway_only)[4].gateway == "10.89.0.9"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (NetworkSpec("i", "n", ipv4=False), "IPv4 or IPv6 must be enabled"),
        (NetworkSpec("i", "n", (Subnet("fd00::/64"),)), "without IPv6"),
        (NetworkSpec("i", "n", (Subnet("10.0.0.0/24"),), ipv4=False, ipv6=True), "without IPv4"),
        (NetworkSpec("i", "n", (Subnet("10.0.0.0/24"), Subnet("10.0.1.0/24"))), "doesn't support multiple subnets"),
    ],
)  # fmt: skip
def test_specs_that_contradict_themselves(spec: NetworkSpec, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        wanted_subnets(spec)


def test_gateway_is_named_or_the_first() -> None:
    assert complete(Subnet("10.0.0.0/24"))[0].gateway == "10.0.0.1"
    assert complete(Subnet("10.0.0.0/30", "10.0.0.2"))[0].gateway == "10.0.0.2"
    assert complete(Subnet("fd00::/64"), 6)[0].gateway == "fd00::1"
    assert complete(Subnet("10.0.0.0/24", auxiliary={"router": "10.0.0.1"}))[0].gateway == "10.0.0.2"
    assert complete(Subnet("10.0.0.0/16", ip_range="10.0.5.0/24"))[0].gateway == "10.0.5.0"


@pytest.mark.parametrize(
    "subnet",
    [
        Subnet("10.0.0.1/24"), Subnet("10.0.0.0/31"), Subnet("fd00::/127"), Subnet("x"),
        Subnet("10.0.0.0/24", "10.0.0.0"), Subnet("10.0.0.0/24", "10.0.0.255"), Subnet("10.0.0.0/24", "10.0.1.1"),
        Subnet("10.0.0.0/24", "x"), Subnet("10.0.0.0/24", "fd00::1"), Subnet("fd00::/64", "fd00::"),
        Subnet("10.0.0.0/24", ip_range="10.0.0.0/23"), Subnet("10.0.0.0/24", ip_range="10.0.1.0/25"),
        Subnet("10.0.0.0/24", ip_range="fd00::/120"), Subnet("10.0.0.0/24", ip_range="x"),
        Subnet("10.0.0.0/24", auxiliary={"a": "10.0.1.1"}), Subnet("10.0.0.0/24", auxiliary={"a": "x"}),
    ],
    ids=str,
)  # fmt: skip
def test_malformed_subnets(subnet: Subnet) -> None:
    with pytest.raises(InvalidArgument):
        complete(subnet, 6 if subnet.cidr.startswith("fd") else 4)


def test_addresses_come_from_the_range_and_never_the_auxiliary_ones() -> None:
    _, pool = complete(Subnet("10.0.0.0/16", "10.0.0.1", "10.0.5.0/29", {"printer": "10.0.5.2"}))
    got = [str(pool.allocate("a")) for _ in range(7)]
    assert got == [f"10.0.5.{number}" for number in (0, 1, 3, 4, 5, 6, 7)]
    with pytest.raises(ResourceExhausted):
        pool.allocate("a")
    pool.reserve(ip_address("10.0.9.9"), "b")  # by name also from outside the range
    with pytest.raises(Conflict, match="Address already in use"):
        pool.reserve(ip_address("10.0.5.2"), "b")


def test_a_large_ipv6_subnet_is_no_more_work() -> None:
    _, pool = complete(Subnet("fd00::/64"), 6)
    assert [str(pool.allocate("a")) for _ in range(3)] == ["fd00::2", "fd00::3", "fd00::4"]
    pool.reserve(ip_address("fd00::5"), "b")
    assert str(pool.allocate("a")) == "fd00::6"
    with pytest.raises(InvalidArgument):
        pool.reserve(ip_address("fd00::"), "b")
    assert str(pool.interface(ip_address("fd00::9"))) == "fd00::9/64"


def test_ipv6_subnets_are_unique_local_and_the_same_each_time() -> None:
    first, _ = complete(Subnet(""), 6)
    assert first == complete(Subnet(""), 6)[0]
    assert ip_network(first.cidr).subnet_of(ip_network("fd00::/8"))  # type: ignore[arg-type]
    second, _ = complete(Subnet(""), 6, taken=(first.cidr,))
    assert ip_network(second.cidr).supernet(new_prefix=48) == ip_network(first.cidr).supernet(new_prefix=48)
    assert second.cidr != first.cidr
    assert unique_local("one machine") != unique_local("another")


def test_overlap_is_told_in_dockers_words() -> None:
    others = [("n", pool("10.0.0.0/24")), ("m", pool("fd00::/64"))]
    for subnet in ("10.0.0.0/25", "10.0.0.0/16", "fd00::/48"):
        with pytest.raises(
            Conflict, match="invalid pool request: Pool overlaps with other one on this address space"
        ):
            refuse_overlap(pool(subnet), others)
    for subnet in ("10.0.1.0/24", "fd00:1::/64", "::a00:0/120"):
        refuse_overlap(pool(subnet), others)
