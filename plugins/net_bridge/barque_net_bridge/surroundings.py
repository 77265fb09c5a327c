"""What is around the driver on this host: the ranges of addresses that are in use, and the way out.

Hundreds of networks mean thousands of routes: these are read as numbers, once for a network that is made.
"""

from __future__ import annotations

import socket
import struct
from typing import TypeAlias

from barque_net_bridge import rtnetlink
from barque_net_bridge.netlink import NetlinkSocket, Request, attributes

__all__ = ["Span", "Surroundings"]

Span: TypeAlias = tuple[int, int]  # the first and the last address

RTM_GETADDR, RTM_GETROUTE = 22, 26
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF = 1, 4
RT_TABLE_MAIN, RTN_UNICAST = 254, 1

_IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst len, src len, tos, table, protocol, scope, type, flags
_FAMILIES = {4: (socket.AF_INET, 32), 6: (socket.AF_INET6, 128)}


class Surroundings:
    """The host's routes and addresses, read when they are first asked for and then kept."""

    def __init__(self, channel: NetlinkSocket) -> None:
        self._channel = channel
        self._routes: dict[int, tuple[list[Span], set[int]]] = {}

    def taken(self, version: int) -> list[Span]:
        """What this host has routes to or addresses in, of an IP version."""
        return self._read(version)[0] + self._addresses(version)

    def mtu(self) -> int:
        """The smallest MTU of the links that a default route goes through, in bytes."""
        ways = self._read(4)[1]
        return min((rtnetlink.link_at(self._channel, index).mtu for index in ways), default=1500)

    def _read(self, version: int) -> tuple[list[Span], set[int]]:
        """Where the main table leads, and the links of default routes."""
        if version in self._routes:
            return self._routes[version]
        spans: list[Span] = []
        ways: set[int] = set()
        family, bits = _FAMILIES[version]
        # A kernel that checks strictly (NETLINK_GET_STRICT_CHK) sends this table only, an older one sends all.
        header = _RTMSG.pack(family, 0, 0, 0, RT_TABLE_MAIN, 0, 0, 0, 0)
        for message in self._channel.dump(Request(RTM_GETROUTE, 0, header)):
            fields = _RTMSG.unpack_from(message.payload)
            if (fields[0], fields[4], fields[7]) != (family, RT_TABLE_MAIN, RTN_UNICAST):
                continue
            values = attributes(message.payload[_RTMSG.size :])
            if RTA_DST in values:
                spans.append(_span(values[RTA_DST], bits - fields[1]))
            elif RTA_OIF in values:
                ways.add(struct.unpack("=I", values[RTA_OIF])[0])
        self._routes[version] = spans, ways
        return spans, ways

    def _addresses(self, version: int) -> list[Span]:
        family, bits = _FAMILIES[version]
        spans: list[Span] = []
        for message in self._channel.dump(Request(RTM_GETADDR, 0, _IFADDR.pack(family, 0, 0, 0, 0))):
            fields = _IFADDR.unpack_from(message.payload)
            values = attributes(message.payload[_IFADDR.size :])
            packed = values.get(IFA_LOCAL, values.get(IFA_ADDRESS))
            if packed is not None and fields[0] == family:
                spans.append(_span(packed, bits - fields[1]))
        return spans


def _span(packed: memoryview, host_bits: int) -> Span:
    first = int.from_bytes(packed, "big") >> host_bits << host_bits
    return first, first | ((1 << host_bits) - 1)
