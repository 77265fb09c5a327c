"""The little of rtnetlink(7) that moving a network interface needs."""

from __future__ import annotations

import os
from _socket import SO_RCVTIMEO, SOCK_RAW, SOL_SOCKET, socket
from struct import calcsize, pack, unpack_from

from barque.spi.errors import Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

AF_NETLINK, NETLINK_ROUTE = 16, 0
SOCK_CLOEXEC = 0o2000000
RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 18, 20, 22
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_CREATE, NLM_F_EXCL = 0x01, 0x04, 0x300, 0x400, 0x200
SOL_NETLINK, NETLINK_GET_STRICT_CHK = 270, 12
IFLA_IFNAME, IFLA_NET_NS_FD = 3, 28
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST, IFA_FLAGS, IFA_RT_PRIORITY = 1, 2, 3, 4, 8, 9
KEPT_ATTRIBUTES = (IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_RT_PRIORITY)
IFA_F_PERMANENT, IFA_F_TENTATIVE, IFA_F_DADFAILED, IFA_F_SECONDARY = 0x80, 0x40, 0x08, 0x01
RT_SCOPE_UNIVERSE = 0
IFF_UP = 1
HEADER, LINK, ADDRESS = "=IHHII", "=BxHiII", "=BBBBI"
RECEIVE = 1 << 17
SECONDS = 10


class Link:
    """A network interface."""

    __slots__ = ("index", "name", "up")

    def __init__(self, index: int, name: str, *, up: bool) -> None:
        self.index = index
        self.name = name
        self.up = up


class Address:
    """A permanent address of global scope, as the kernel describes it, without the interface and its label."""

    __slots__ = ("attributes", "family", "flags", "prefix")

    def __init__(self, family: int, prefix: int, flags: int, attributes: bytes) -> None:
        self.family = family
        self.prefix = prefix
        self.flags = flags
        self.attributes = attributes


class Rtnetlink:
    """A socket to the network namespace in which it was made, wherever its maker goes."""

    def __init__(self) -> None:
        self.end = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
        self.end.setsockopt(SOL_SOCKET, SO_RCVTIMEO, pack("@ll", SECONDS, 0))
        self.end.bind((0, 0))
        self.sequence = 0

    def close(self) -> None:
        """Close it."""
        self.end.close()

    def links(self) -> list[Link]:
        """All interfaces of the namespace."""
        found = []
        for data in self._ask(RTM_GETLINK, NLM_F_DUMP, pack(LINK, 0, 0, 0, 0, 0)):
            _, _, index, flags, _ = unpack_from(LINK, data)
            name = dict(attributes(data[calcsize(LINK) :])).get(IFLA_IFNAME, b"")
            found.append(Link(index, os.fsdecode(name.rstrip(b"\0")), up=bool(flags & IFF_UP)))
        return found

    def addresses(self, index: int) -> list[Address]:
        """The permanent addresses of global scope of one interface."""
        found = []
        for data in self._ask(RTM_GETADDR, NLM_F_DUMP, pack(ADDRESS, 0, 0, 0, 0, 0)):
            family, prefix, flags, scope, owner = unpack_from(ADDRESS, data)
            given = dict(attributes(data[calcsize(ADDRESS) :]))
            flags = unpack_from("=I", given[IFA_FLAGS])[0] if IFA_FLAGS in given else flags
            if owner == index and scope == RT_SCOPE_UNIVERSE and flags & IFA_F_PERMANENT:
                kept = b"".join(attribute(kind, given[kind]) for kind in KEPT_ATTRIBUTES if kind in given)
                found.append(Address(family, prefix, flags, kept))
        return found

    def move(self, index: int, namespace: int, name: str) -> None:
        """Move the interface to the namespace behind a descriptor, under `name`."""
        data = pack(LINK, 0, 0, index, 0, 0)
        data += attribute(IFLA_NET_NS_FD, pack("=I", namespace))
        self._do(RTM_NEWLINK, data + attribute(IFLA_IFNAME, os.fsencode(name) + b"\0"))

    def set_up(self, index: int) -> None:
        """Set the interface up."""
        self._do(RTM_NEWLINK, pack(LINK, 0, 0, index, IFF_UP, IFF_UP))

    def add(self, index: int, address: Address) -> None:
        """Give the interface the address."""
        flags = address.flags & ~(IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_SECONDARY)
        data = pack(ADDRESS, address.family, address.prefix, flags & 0xFF, RT_SCOPE_UNIVERSE, index)
        data += address.attributes + attribute(IFA_FLAGS, pack("=I", flags))
        self._do(RTM_NEWADDR, data, NLM_F_CREATE | NLM_F_EXCL)

    def _do(self, kind: int, data: bytes, flags: int = 0) -> None:
        for _ in self._ask(kind, NLM_F_ACK | flags, data):
            raise Internal("rtnetlink: an answer where only an acknowledgement was due")

    def _ask(self, kind: int, flags: int, data: bytes) -> Iterator[bytes]:
        """Send one message; yields what comes back. Errors: OSError with what the kernel says."""
        self.sequence += 1
        size = calcsize(HEADER)
        self.end.send(pack(HEADER, size + len(data), kind, NLM_F_REQUEST | flags, self.sequence, 0) + data)
        while True:
            packet = self.end.recv(RECEIVE)
            while len(packet) >= size:
                length, answer, _, sequence, _ = unpack_from(HEADER, packet)
                body, packet = packet[size:length], packet[(length + 3) & ~3 :]
                if sequence != self.sequence:
                    continue
                if answer == NLMSG_DONE:
                    return
                if answer == NLMSG_ERROR:
                    number = -unpack_from("=i", body)[0]
                    if number:
                        raise OSError(number, os.strerror(number))
                    return
                yield body


def attribute(kind: int, value: bytes) -> bytes:
    """One `struct rtattr`, padded."""
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each `struct rtattr`."""
    while len(data) >= 4:
        length, kind = unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]
