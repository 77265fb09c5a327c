"""Connection tracking: forgetting flows that would outlive a change of published UDP ports.

A client that sends UDP without a pause keeps its flow alive, and with it the translation of its first datagram:
to no container, or to one that is gone. TCP has no such trouble: its connections end.
(linux/netfilter/nfnetlink_conntrack.h)
"""

from __future__ import annotations

import errno
import logging
import struct
from collections.abc import Iterator

from barque_net_bridge.netlink import (
    NETLINK_NETFILTER,
    NLA_F_NESTED,
    NetlinkError,
    NetlinkSocket,
    Request,
    attribute,
    attributes,
)

__all__ = ["forget_udp"]

log = logging.getLogger(__name__)

NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE = 1, 2
CTA_TUPLE_ORIG = 1
CTA_TUPLE_PROTO = 2
CTA_PROTO_NUM, CTA_PROTO_DST_PORT = 1, 3
AF_INET, AF_INET6, IPPROTO_UDP = 2, 10, 17

_GENMSG = struct.Struct("=BBH")


def forget_udp(host_ports: set[int], version: int = 4) -> None:
    """Forget the UDP flows of an IP version towards these ports of this host, where the kernel can (CONFIG_NF_CT_NETLINK)."""
    if not host_ports:
        return
    family = AF_INET if version == 4 else AF_INET6
    try:
        with NetlinkSocket(NETLINK_NETFILTER) as channel:
            for flow in _flows(channel, family, host_ports):
                _forget(channel, family, flow)
    except OSError as error:
        log.warning("flows to UDP ports %s may go on to where they went: %s", sorted(host_ports), error)


def _request(kind: int, family: int, payload: bytes = b"") -> Request:
    return Request((NFNL_SUBSYS_CTNETLINK << 8) | kind, 0, _GENMSG.pack(family, 0, 0) + payload)


def _flows(channel: NetlinkSocket, family: int, host_ports: set[int]) -> Iterator[bytes]:
    """The original tuples, as netlink gives them, of the flows towards `host_ports`."""
    for message in channel.dump(_request(IPCTNL_MSG_CT_GET, family)):
        original = attributes(message.payload[_GENMSG.size :]).get(CTA_TUPLE_ORIG)
        if original is None:
            continue
        protocol = attributes(attributes(original).get(CTA_TUPLE_PROTO, memoryview(b"")))
        number, port = protocol.get(CTA_PROTO_NUM), protocol.get(CTA_PROTO_DST_PORT)
        if number is None or port is None or number[0] != IPPROTO_UDP:
            continue
        if struct.unpack(">H", port)[0] in host_ports:
            yield bytes(original)


def _forget(channel: NetlinkSocket, family: int, original: bytes) -> None:
    try:
        channel.do(_request(IPCTNL_MSG_CT_DELETE, family, attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, original)))
    except NetlinkError as error:
        if error.errno != errno.ENOENT:  # it ended meanwhile
            raise
