from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque_net_bridge import netlink, nfnetlink, rtnetlink
from barque_net_bridge.netlink import Message, NetlinkError, NetlinkSocket, Request
from barque_net_bridge.surroundings import Surroundings


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), unique_by=lambda item: item[0]))
def test_attributes_round_trip(items: list[tuple[int, bytes]]) -> None:
    data = b"".join(netlink.attribute(kind, value) for kind, value in items)
    assert {kind: bytes(value) for kind, value in netlink.attributes(memoryview(data)).items()} == dict(items)


@given(st.binary(max_size=200))
def test_malformed_input_is_survived(data: bytes) -> None:
    for value in netlink.attributes(memoryview(data)).values():
        assert len(value) < len(data)
    for message in netlink.messages(data):
        assert len(message.payload) < len(data)
        nfnetlink.event(message)


def test_nested_attributes() -> None:
    data = memoryview(netlink.nested(18, netlink.text(1, "veth"), netlink.attribute(2, b"\1\2\3")))
    inner = netlink.attributes(netlink.attributes(data)[18])
    assert bytes(inner[1]) == b"veth\0"
    assert bytes(inner[2]) == b"\1\2\3"


def genmsg(kind: int, family: int, *attributes: bytes) -> Message:
    return Message(10 << 8 | kind, 0, memoryview(struct.pack("=BBH", family, 0, 0) + b"".join(attributes)))


@pytest.mark.parametrize("kind", [2, 5, 8, 11, 14])
def test_deletions_are_events(kind: int) -> None:
    name = netlink.text(1, "barque")
    assert nfnetlink.event(genmsg(kind, 2, name)) == nfnetlink.Deleted("barque")
    assert nfnetlink.event(genmsg(kind, 7, name)) == nfnetlink.Deleted("barque")
    assert nfnetlink.event(genmsg(kind, 10, name)) == nfnetlink.Deleted("barque")
    assert nfnetlink.event(genmsg(kind, 3, name)) is None  # a table of family arp may have the same name


def test_other_events() -> None:
    generation = netlink.attribute(1, struct.pack(">I", 77))
    assert nfnetlink.event(genmsg(15, 0, generation)) == nfnetlink.Generation(77)
    assert nfnetlink.event(genmsg(0, 2, netlink.text(1, "barque"))) is None
    assert nfnetlink.event(Message(2, 0, memoryview(b"\0" * 4))) is None


def test_this_host_has_loopback() -> None:
    with NetlinkSocket(netlink.NETLINK_ROUTE) as channel:
        lo = rtnetlink.link(channel, "lo")
        assert lo.index == 1
        assert lo in rtnetlink.links(channel)
        assert rtnetlink.link_at(channel, 1) == lo
        around = Surroundings(channel)
        assert (0x7F000000, 0x7FFFFFFF) in around.taken(4)
        assert all(0 <= first <= last < 1 << 128 for first, last in around.taken(6))
        assert 68 <= around.mtu() <= 65536
        with pytest.raises(NetlinkError) as caught:
            rtnetlink.link(channel, "not-there")
        assert caught.value.errno == errno.ENODEV


def test_every_request_of_a_batch_is_answered_and_the_first_error_raised() -> None:
    with NetlinkSocket(netlink.NETLINK_ROUTE) as channel:
        missing = rtnetlink.set_master("not-there", 1)
        unknown = Request(15, 0, b"\0" * 16)
        with pytest.raises(NetlinkError) as caught:
            channel.do(missing, unknown, missing)
        assert caught.value.errno in (errno.ENODEV, errno.EPERM)
        assert rtnetlink.link(channel, "lo").index == 1  # no stale answer is left in the socket
