"""rtnetlink(7): the requests that the driver makes for links, addresses and routes, and what it reads back."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from barque_net_bridge.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NetlinkError,
    NetlinkSocket,
    Request,
    attribute,
    attributes,
    nested,
    text,
)

__all__ = [
    "Link",
    "Veth",
    "add_address",
    "add_bridge",
    "add_default_route",
    "add_loopback_route",
    "add_veth",
    "delete_address",
    "delete_default_route",
    "delete_group",
    "delete_link",
    "delete_links",
    "link",
    "link_at",
    "links",
    "port_flags",
    "set_group",
    "set_master",
    "set_up",
]

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE = 24, 25

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER = 1, 3, 4, 10
IFLA_LINKINFO, IFLA_GROUP, IFLA_NET_NS_FD = 18, 27, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER = 1
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY = 1, 4, 5, 6
IFA_F_NODAD = 0x02

IFF_UP = 0x1
RT_TABLE_MAIN, RT_TABLE_LOCAL, RTPROT_BOOT = 254, 255, 3
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RTN_UNICAST, RTN_LOCAL = 0, 253, 1, 2

_IFINFO = struct.Struct("=BBHiII")  # family, pad, device type, index, flags, change mask
_IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst len, src len, tos, table, protocol, scope, type, flags
_U32 = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface as the kernel describes it. `group` is IFLA_GROUP, our mark of ownership."""

    index: int
    name: str
    kind: str
    group: int
    master: int
    mtu: int


@dataclass(frozen=True, slots=True)
class Veth:
    """A veth pair to make: `host` stays here as a port of bridge `master`, `inside` goes to `netns`."""

    host: str
    inside: str
    mac: bytes
    mtu: int
    master: int
    group: int
    netns: int


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, _U32.pack(value))


def _ifinfo(index: int = 0, up: bool = False) -> bytes:
    return _IFINFO.pack(socket.AF_UNSPEC, 0, 0, index, IFF_UP if up else 0, IFF_UP if up else 0)


def add_bridge(name: str, mac: bytes, mtu: int, group: int) -> Request:
    """Make a bridge, still down. Its hardware address is given: else it would follow that of its ports."""
    payload = (
        _ifinfo()
        + text(IFLA_IFNAME, name)
        + attribute(IFLA_ADDRESS, mac)
        + _u32(IFLA_MTU, mtu)
        + _u32(IFLA_GROUP, group)
        + nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bridge"))
    )
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload)


def add_veth(veth: Veth) -> Request:
    """Make a veth pair in one request: `host` up and enslaved, `inside` named and placed in its namespace.

    `inside` stays down: the kernel refuses to bring it up before the pair is complete (ENOTCONN).
    """
    peer = (
        _ifinfo()
        + text(IFLA_IFNAME, veth.inside)
        + attribute(IFLA_ADDRESS, veth.mac)
        + _u32(IFLA_MTU, veth.mtu)
        + _u32(IFLA_NET_NS_FD, veth.netns)
    )
    info = nested(IFLA_INFO_DATA, nested(VETH_INFO_PEER, peer))
    payload = (
        _ifinfo(up=True)
        + text(IFLA_IFNAME, veth.host)
        + _u32(IFLA_MTU, veth.mtu)
        + _u32(IFLA_GROUP, veth.group)
        + _u32(IFLA_MASTER, veth.master)
        + nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "veth"), info)
    )
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload)


def delete_link(name: str) -> Request:
    """Delete a link (a veth takes its peer with it). Takes an RCU grace period: 15 ms and more."""
    return Request(RTM_DELLINK, 0, _ifinfo() + text(IFLA_IFNAME, name))


def set_group(name: str, group: int) -> Request:
    """Move a link to another interface group."""
    return Request(RTM_SETLINK, 0, _ifinfo() + text(IFLA_IFNAME, name) + _u32(IFLA_GROUP, group))


def delete_group(group: int) -> Request:
    """Delete every link of a group: one grace period for all of them. ENODEV: the group is empty."""
    return Request(RTM_DELLINK, 0, _ifinfo() + _u32(IFLA_GROUP, group))


def delete_links(channel: NetlinkSocket, names: Iterable[str], grave: int, *, others: bool = False) -> None:
    """Delete links, those that exist, all in one grace period: they are put into the group `grave` first. `others`: what is in there
    is deleted even if none of them exists."""
    found = [name for name in names if _done(channel, set_group(name, grave))]
    if found or others:
        _done(channel, delete_group(grave))


def _done(channel: NetlinkSocket, request: Request) -> bool:
    """Whether it was done, False when the link is gone."""
    try:
        channel.do(request)
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise
        return False
    return True


def set_up(index: int) -> Request:
    """Bring a link up."""
    return Request(RTM_SETLINK, 0, _ifinfo(index, up=True))


def port_flags(name: str, *, hairpin: bool, isolated: bool) -> Request:
    """Set the flags of the bridge port `name`: `hairpin` sends a frame back where it came from, `isolated`
    keeps it from other isolated ports."""
    flags = attribute(IFLA_BRPORT_MODE, bytes((hairpin,))) + attribute(
        IFLA_BRPORT_ISOLATED, bytes((isolated,))
    )
    slave = text(IFLA_INFO_SLAVE_KIND, "bridge") + nested(IFLA_INFO_SLAVE_DATA, flags)
    return Request(RTM_NEWLINK, 0, _ifinfo() + text(IFLA_IFNAME, name) + nested(IFLA_LINKINFO, slave))


def set_master(name: str, master: int) -> Request:
    """Make a link a port of the bridge with index `master`."""
    return Request(RTM_SETLINK, 0, _ifinfo() + text(IFLA_IFNAME, name) + _u32(IFLA_MASTER, master))


def add_address(index: int, address: IPv4Interface | IPv6Interface) -> Request:
    """Give a link an address (and the route of its subnet). Again: nothing changes.

    An IPv6 address is not looked for on the link first: it would be of no use for a second, and on a bridge without ports for ever.
    """
    family, flags = (socket.AF_INET, 0) if address.version == 4 else (socket.AF_INET6, IFA_F_NODAD)
    return _address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, family, flags, index, address)


def delete_address(index: int, address: IPv4Interface | IPv6Interface) -> Request:
    """Undo `add_address`. EADDRNOTAVAIL: the link has no such address."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return _address(RTM_DELADDR, 0, family, 0, index, address)


def _address(
    kind: int, mode: int, family: int, flags: int, index: int, address: IPv4Interface | IPv6Interface
) -> Request:
    scope = RT_SCOPE_LINK if address.is_link_local else RT_SCOPE_UNIVERSE
    header = _IFADDR.pack(family, address.network.prefixlen, flags, scope, index)
    packed = address.ip.packed
    return Request(kind, mode, header + attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed))


def add_default_route(index: int, gateway: bytes) -> Request:
    """Send what has no other route to `gateway` (packed) through link `index`."""
    family = socket.AF_INET if len(gateway) == 4 else socket.AF_INET6
    header = _RTMSG.pack(family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0)
    return Request(
        RTM_NEWROUTE,
        NLM_F_CREATE | NLM_F_REPLACE,
        header + attribute(RTA_GATEWAY, gateway) + _u32(RTA_OIF, index),
    )


def delete_default_route(index: int, gateway: bytes) -> Request:
    """Undo `add_default_route`; one through another link is left. ESRCH: there is none."""
    family = socket.AF_INET if len(gateway) == 4 else socket.AF_INET6
    header = _RTMSG.pack(family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0)
    return Request(RTM_DELROUTE, 0, header + attribute(RTA_GATEWAY, gateway) + _u32(RTA_OIF, index))


def links(channel: NetlinkSocket) -> list[Link]:
    """Every link of the socket's namespace."""
    return [_link(message.payload) for message in channel.dump(Request(RTM_GETLINK, 0, _ifinfo()))]


def link(channel: NetlinkSocket, name: str) -> Link:
    """The link called `name`. NetlinkError(ENODEV): there is none."""
    return _link(channel.get(Request(RTM_GETLINK, 0, _ifinfo() + text(IFLA_IFNAME, name))).payload)


def link_at(channel: NetlinkSocket, index: int) -> Link:
    """The link with this index. NetlinkError(ENODEV): there is none."""
    return _link(channel.get(Request(RTM_GETLINK, 0, _ifinfo(index))).payload)


def _link(payload: memoryview) -> Link:
    index = _IFINFO.unpack_from(payload)[3]
    found = attributes(payload[_IFINFO.size :])
    info = attributes(found[IFLA_LINKINFO]) if IFLA_LINKINFO in found else {}
    return Link(
        index=index,
        name=_string(found.get(IFLA_IFNAME)),
        kind=_string(info.get(IFLA_INFO_KIND)),
        group=_number(found.get(IFLA_GROUP)),
        master=_number(found.get(IFLA_MASTER)),
        mtu=_number(found.get(IFLA_MTU)),
    )


def add_loopback_route(index: int) -> Request:
    """Let what a link's network answers to ::1 in: the kernel takes packets to it only where the route to it is.

    EEXIST: it is there. Those that have ::1 on the wire are dropped before (ip6_rcv_core); these get it when a port's translation is undone.
    """
    header = _RTMSG.pack(
        socket.AF_INET6, 128, 0, 0, RT_TABLE_LOCAL, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_LOCAL, 0
    )
    packed = bytes(15) + b"\1"
    payload = header + attribute(RTA_DST, packed) + _u32(RTA_OIF, index) + _u32(RTA_PRIORITY, 2000)
    return Request(RTM_NEWROUTE, NLM_F_CREATE, payload)  # to replace one is to replace another link's


def _string(value: memoryview | None) -> str:
    return "" if value is None else bytes(value).rstrip(b"\0").decode("utf-8", "replace")


def _number(value: memoryview | None) -> int:
    return 0 if value is None else int(_U32.unpack(value)[0])
