"""Links, addresses and routes: the requests the driver makes (rtnetlink(7), linux/if_link.h)."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network

from barque_net_macvlan.netlink import (
    CREATE,
    DUMP,
    EXCL,
    REPLACE,
    Channel,
    attribute,
    attributes,
    nested,
    number,
    text,
)

__all__ = [
    "Link",
    "add_address",
    "add_dummy",
    "add_route",
    "add_slave",
    "add_vlan",
    "delete",
    "delete_route",
    "find",
    "links",
    "networks_in_use",
    "set_mac",
    "set_up",
    "tentative",
]

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _GETADDR, _NEWROUTE, _DELROUTE, _GETROUTE = 20, 22, 24, 25, 26
_ADDRESS, _IFNAME, _MTU, _LINK, _LINKINFO, _IFALIAS, _NET_NS_FD = 1, 3, 4, 5, 18, 20, 28
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_PEER, _VLAN_ID = 1, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NODAD, _TENTATIVE = 0x02, 0x40
_DST, _OIF, _GATEWAY = 1, 4, 5
_UP, _LOOPBACK = 0x1, 0x8
_MAIN, _BOOT, _UNIVERSE, _LINK_SCOPE, _UNICAST = 254, 3, 0, 253, 1
_IFINFO = struct.Struct("=BBHiII")
_IFADDR = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface. `alias` is IFLA_IFALIAS, where links of ours say whose they are."""

    index: int
    name: str
    kind: str
    alias: str
    mac: str
    loopback: bool


def _ifinfo(index: int = 0, up: bool = False) -> bytes:
    return _IFINFO.pack(socket.AF_UNSPEC, 0, 0, index, _UP if up else 0, _UP if up else 0)


def links(channel: Channel) -> list[Link]:
    """All links of the namespace."""
    return [_link(payload) for payload in channel.ask(_GETLINK, DUMP, _ifinfo())]


def find(channel: Channel, name: str) -> Link | None:
    """The link of this name."""
    try:
        return _link(channel.ask(_GETLINK, 0, _ifinfo() + text(_IFNAME, name))[0])
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return None


def _link(payload: bytes) -> Link:
    _family, _pad, _type, index, flags, _change = _IFINFO.unpack_from(payload)
    values = attributes(payload[_IFINFO.size :])
    kind = attributes(values.get(_LINKINFO, b"")).get(_INFO_KIND, b"")
    name, alias = values.get(_IFNAME, b""), values.get(_IFALIAS, b"")
    return Link(
        index,
        _string(name),
        _string(kind),
        _string(alias),
        values.get(_ADDRESS, b"").hex(":"),
        bool(flags & _LOOPBACK),
    )


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")


def add_dummy(channel: Channel, name: str, alias: str) -> None:
    """A link that leads nowhere, up. Where the kernel has no `dummy`: one end of a veth pair, whose other end nobody uses."""
    payload = _ifinfo() + text(_IFNAME, name)
    try:
        channel.do(_NEWLINK, CREATE | EXCL, payload + nested(_LINKINFO, text(_INFO_KIND, "dummy")))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        peer = nested(_VETH_PEER, _ifinfo() + text(_IFNAME, f"{name}p"))
        info = nested(_LINKINFO, text(_INFO_KIND, "veth"), nested(_INFO_DATA, peer))
        channel.do(_NEWLINK, CREATE | EXCL, payload + info)
        set_up(channel, _index(channel, f"{name}p"))
    set_up(channel, _index(channel, name), alias)


def add_vlan(channel: Channel, name: str, parent: int, vlan: int, alias: str) -> None:
    """The part of link `parent` that has VLAN number `vlan`, up."""
    info = nested(_LINKINFO, text(_INFO_KIND, "vlan"), nested(_INFO_DATA, _u16(_VLAN_ID, vlan)))
    channel.do(_NEWLINK, CREATE | EXCL, _ifinfo() + text(_IFNAME, name) + number(_LINK, parent) + info)
    set_up(channel, _index(channel, name), alias)


def _u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def add_slave(
    channel: Channel, name: str, kind: str, data: bytes, parent: int, mac: bytes, netns: int
) -> None:
    """A link of `kind` (macvlan, ipvlan) on the link `parent` of the channel's namespace, in the namespace `netns`, down."""
    payload = _ifinfo() + text(_IFNAME, name) + number(_LINK, parent) + number(_NET_NS_FD, netns)
    if mac:
        payload += attribute(_ADDRESS, mac)
    info = nested(_LINKINFO, text(_INFO_KIND, kind), nested(_INFO_DATA, data))
    channel.do(_NEWLINK, CREATE | EXCL, payload + info)


def delete(channel: Channel, index: int) -> None:
    """Delete a link, and with it those that are on it. Idempotent."""
    try:
        channel.do(_DELLINK, 0, _ifinfo(index))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def set_up(channel: Channel, index: int, alias: str = "") -> None:
    """Bring a link up; give it an alias."""
    channel.do(_SETLINK, 0, _ifinfo(index, up=True) + (text(_IFALIAS, alias) if alias else b""))


def set_mac(channel: Channel, index: int, mac: bytes) -> None:
    """Give a link another hardware address."""
    channel.do(_SETLINK, 0, _ifinfo(index) + attribute(_ADDRESS, mac))


def _index(channel: Channel, name: str) -> int:
    link = find(channel, name)
    if link is None:
        raise OSError(errno.ENODEV, f"interface {name} has gone")
    return link.index


def add_address(channel: Channel, index: int, interface: Interface) -> None:
    """Give a link an address; an IPv6 one is usable at once (no duplicate detection)."""
    packed = interface.ip.packed
    family, flags = (socket.AF_INET, 0) if len(packed) == 4 else (socket.AF_INET6, _NODAD)
    header = _IFADDR.pack(family, interface.network.prefixlen, flags, _UNIVERSE, index)
    payload = header + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    channel.do(_NEWADDR, CREATE | REPLACE, payload)


def tentative(channel: Channel, index: int) -> bool:
    """Whether a link has an IPv6 address that the kernel does not use yet."""
    found = channel.ask(_GETADDR, DUMP, _IFADDR.pack(socket.AF_INET6, 0, 0, 0, 0))
    heads = [_IFADDR.unpack_from(payload) for payload in found]
    return any(head[4] == index and head[2] & _TENTATIVE for head in heads)


def add_route(channel: Channel, index: int, family: int, gateway: bytes) -> None:
    """The default route through link `index`: to `gateway`, or (b"") straight out."""
    channel.do(_NEWROUTE, CREATE | REPLACE, _default(index, family, gateway))


def delete_route(channel: Channel, index: int, family: int, gateway: bytes) -> None:
    """Undo `add_route`. Idempotent."""
    try:
        channel.do(_DELROUTE, 0, _default(index, family, gateway))
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise


def _default(index: int, family: int, gateway: bytes) -> bytes:
    scope = _UNIVERSE if gateway else _LINK_SCOPE
    header = _RTMSG.pack(family, 0, 0, 0, _MAIN, _BOOT, scope, _UNICAST, 0)
    return header + (attribute(_GATEWAY, gateway) if gateway else b"") + number(_OIF, index)


def networks_in_use(channel: Channel) -> list[IPv4Network | IPv6Network]:
    """The destinations of the namespace's routes, but for default routes."""
    found: list[IPv4Network | IPv6Network] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for payload in channel.ask(_GETROUTE, DUMP, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
            fields = _RTMSG.unpack_from(payload)
            destination = attributes(payload[_RTMSG.size :]).get(_DST)
            if fields[4] == _MAIN and destination is not None:
                found.append(ip_network((destination, fields[1]), strict=False))
    return found
