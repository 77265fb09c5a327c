"""The macvlan and ipvlan drivers' options, addresses and requests, as far as they need no kernel."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from barque.spi.errors import Conflict, InvalidArgument, ResourceExhausted
from barque.spi.network import NetworkSpec, Subnet
from barque_net_macvlan import links
from barque_net_macvlan.addresses import Pool, complete
from barque_net_macvlan.netlink import attributes
from barque_net_macvlan.options import IPVLAN, MACVLAN, Parent, parent_of

POOL = ("192.168.0.0/16", 24)


@pytest.mark.parametrize(
    ("options", "parent", "nowhere"),
    [
        ({}, Parent("dm-0123456789a"), True),
        ({"parent": "eth0"}, Parent("eth0"), False),
        ({"parent": "eth0.10"}, Parent("eth0.10", "eth0", 10), False),
        ({"parent": "bond0.a"}, Parent("bond0.a"), False),
    ],
)
def test_parents(options, parent, nowhere):
    assert parent_of(options, "0123456789abcdef") == (parent, nowhere)


@pytest.mark.parametrize("name", ["eth0.0", "eth0.4095", "a/b", "..", "x" * 16, "eth0\n", "eth 0"])
def test_parents_that_cannot_be(name):
    with pytest.raises(InvalidArgument):
        parent_of({"parent": name}, "0123456789abcdef")


def test_modes_and_what_is_sent_for_them():
    assert MACVLAN.mode({}) == "bridge"
    for mode, number in {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}.items():
        assert attributes(MACVLAN.info(MACVLAN.mode({"macvlan_mode": mode})))[1] == number.to_bytes(
            4, "little"
        )
    assert IPVLAN.mode({}) == "l2,bridge"
    for mode, number in {"l2": 0, "l3": 1, "l3s": 2}.items():
        for flag, bits in {"bridge": 0, "private": 1, "vepa": 2}.items():
            found = IPVLAN.mode({"ipvlan_mode": mode, "ipvlan_flag": flag})
            sent = attributes(IPVLAN.info(found))
            assert (sent[1], sent[2]) == (number.to_bytes(2, "little"), bits.to_bytes(2, "little"))
            assert IPVLAN.routed(found) == (mode != "l2")
    for kind, options in ((MACVLAN, {"macvlan_mode": "x"}), (IPVLAN, {"ipvlan_flag": "x"})):
        with pytest.raises(InvalidArgument, match=f"requested {kind.name} .* 'x' is not valid"):
            kind.mode(options)


def test_subnets_that_are_chosen():
    spec = NetworkSpec("1" * 64, "n", ipv6=True)
    four, six = complete(spec, *POOL, [ip_network("192.168.255.0/24")], [ip_network("192.168.254.0/23")])
    assert (four.cidr, four.gateway) == ("192.168.253.0/24", "192.168.253.1")
    assert ip_network(six.cidr).prefixlen == 64
    assert six.cidr.startswith("fd")
    assert complete(NetworkSpec("1", "n", subnets=(four, six), ipv6=True), *POOL, [], []) == (four, six)
    with pytest.raises(ResourceExhausted):
        complete(spec, *POOL, [ip_network("192.168.0.0/16")], [])


def test_a_subnet_of_the_hosts_own_may_be_named():
    wanted = Subnet("192.168.3.0/24", "192.168.3.254", "192.168.3.128/25", {"printer": "192.168.3.200"})
    spec = NetworkSpec("1", "n", subnets=(wanted,))
    assert complete(spec, *POOL, [], [ip_network("192.168.3.0/24")]) == (wanted,)
    with pytest.raises(Conflict, match="Pool overlaps"):
        complete(spec, *POOL, [ip_network("192.168.0.0/22")], [])


@pytest.mark.parametrize(
    "subnet",
    [
        Subnet("192.168.3.1/24"), Subnet("192.168.3.0/31"), Subnet("x"), Subnet("fd00::/127"),
        Subnet("192.168.3.0/24", "192.168.3.255"), Subnet("192.168.3.0/24", "192.168.4.1"),
        Subnet("192.168.3.0/24", "", "192.168.4.0/25"), Subnet("192.168.3.0/24", "", "fd00::/64"),
        Subnet("192.168.3.0/24", "", "", {"a": "10.0.0.1"}), Subnet("192.168.3.0/24", "x"),
    ],
    ids=str,
)  # fmt: skip
def test_subnets_that_cannot_be(subnet):
    with pytest.raises(InvalidArgument):
        complete(NetworkSpec("1", "n", subnets=(subnet,)), *POOL, [], [])


def test_a_pool_gives_each_address_once():
    pool = Pool(Subnet("10.0.0.0/24", "10.0.0.1", "10.0.0.0/30", {"x": "10.0.0.2"}))
    assert str(pool.take("", "a")) == "10.0.0.3"
    with pytest.raises(ResourceExhausted):
        pool.take("", "b")
    assert str(pool.take("10.0.0.77", "b")) == "10.0.0.77"
    assert str(pool.take("10.0.0.77", "b")) == "10.0.0.77"
    for taken in ("10.0.0.1", "10.0.0.2", "10.0.0.77"):
        with pytest.raises(Conflict, match="Address already in use"):
            pool.take(taken, "c")
    for wrong in ("10.0.0.0", "10.0.0.255", "10.0.1.1", "fd00::1", "x"):
        with pytest.raises(InvalidArgument):
            pool.take(wrong, "c")
    pool.release(pool.take("10.0.0.3", "a"), "b")  # not the owner
    with pytest.raises(ResourceExhausted):
        pool.take("", "c")
    pool.release(pool.take("10.0.0.3", "a"), "a")
    assert str(pool.take("", "c")) == "10.0.0.3"


def test_a_large_pool_is_not_walked():
    pool = Pool(Subnet("fd00::/64", "fd00::1"))
    assert [str(pool.take("", str(number))) for number in range(3)] == ["fd00::2", "fd00::3", "fd00::4"]


class Recorder:
    """A channel that keeps what it is asked, and knows a link by every name."""

    def __init__(self):
        self.sent = []

    def do(self, kind, flags, payload):
        self.sent.append((kind, payload))

    def ask(self, kind, flags, payload):
        return [payload[:4] + (7).to_bytes(4, "little") + payload[8:]]


def test_the_request_for_a_vlan():
    channel = Recorder()
    links.add_vlan(channel, "eth0.10", 3, 10, "barque:x:y")
    made = attributes(channel.sent[0][1][16:])
    info = attributes(made[18])
    assert made[3] == b"eth0.10\0"
    assert made[5] == (3).to_bytes(4, "little")
    assert info[1] == b"vlan\0"
    assert attributes(info[2])[1] == (10).to_bytes(2, "little")
    assert attributes(channel.sent[1][1][16:])[20] == b"barque:x:y\0"


def test_the_request_for_an_ipvlan():
    channel = Recorder()
    links.add_slave(channel, "eth0", "ipvlan", IPVLAN.info("l3s,private"), 3, b"", 9)
    made = attributes(channel.sent[0][1][16:])
    assert 1 not in made
    assert made[28] == (9).to_bytes(4, "little")
    assert attributes(made[18])[1] == b"ipvlan\0"


def test_routes_straight_out_have_no_gateway():
    channel = Recorder()
    links.add_route(channel, 5, 2, b"")
    links.add_route(channel, 5, 2, b"\x0a\0\0\1")
    straight, via = (attributes(payload[12:]) for _, payload in channel.sent)
    assert 5 not in straight
    assert via[5] == b"\x0a\0\0\1"
