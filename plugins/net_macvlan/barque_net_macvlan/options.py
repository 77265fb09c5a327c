"""The options of a network, under Docker's names, and what the two kinds of link make of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from barque.spi.errors import InvalidArgument
from barque_net_macvlan.netlink import number, short

__all__ = ["IPVLAN", "MACVLAN", "Kind", "Parent", "checked_interface", "parent_of"]

_INTERFACE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.@-]{1,15}")
_MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
_IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of link. `own_mac`: each has a hardware address of its own."""

    name: str
    own_mac: bool

    def mode(self, options: Mapping[str, str]) -> str:
        """The mode, and for ipvlan its flag behind a comma. Errors: InvalidArgument, in Docker's words."""
        if self.own_mac:
            return _chosen(options, "macvlan_mode", _MACVLAN_MODES, "bridge", "macvlan")
        mode = _chosen(options, "ipvlan_mode", _IPVLAN_MODES, "l2", "ipvlan")
        return f"{mode},{_chosen(options, 'ipvlan_flag', _IPVLAN_FLAGS, 'bridge', 'ipvlan')}"

    def info(self, mode: str) -> bytes:
        """IFLA_INFO_DATA of a link in a mode."""
        if self.own_mac:
            return number(1, _MACVLAN_MODES[mode])
        mode, _, flag = mode.partition(",")
        return short(1, _IPVLAN_MODES[mode]) + short(2, _IPVLAN_FLAGS[flag])

    def routed(self, mode: str) -> bool:
        """Whether links in this mode have no neighbours: everything goes straight out, and there is no gateway."""
        return not self.own_mac and not mode.startswith("l2,")

    def exclusive(self, mode: str) -> bool:
        """Whether a parent has room for one link in this mode only."""
        return mode == "passthru"


MACVLAN = Kind("macvlan", own_mac=True)
IPVLAN = Kind("ipvlan", own_mac=False)


def _chosen(options: Mapping[str, str], key: str, known: Mapping[str, int], default: str, driver: str) -> str:
    value = options.get(key, "") or default
    if value not in known:
        raise InvalidArgument(
            f"requested {driver} {key.partition('_')[2]} {value!r} is not valid, "
            f"{default!r} {key.partition('_')[2]} is the {driver} driver default",
            hint=f"one of {', '.join(known)}",
        )
    return value


@dataclass(frozen=True, slots=True)
class Parent:
    """The link of the host that a network is on. `base` and `vlan`: what it is a part of, where its name says so."""

    name: str
    base: str = ""
    vlan: int = 0


def parent_of(options: Mapping[str, str], network_id: str) -> tuple[Parent, bool]:
    """The parent, and whether it is one that leads nowhere (none was named). Errors: InvalidArgument."""
    name = options.get("parent", "")
    if not name:
        return Parent(f"dm-{network_id[:11]}"), True
    checked_interface(name)
    base, dot, tag = name.rpartition(".")
    if dot and base and tag.isascii() and tag.isdecimal():
        if not 1 <= int(tag) <= 4094:
            raise InvalidArgument(f"vlan id must be between 1-4094, received: {tag}")
        return Parent(name, base, int(tag)), False
    return Parent(name), False


def checked_interface(name: str) -> str:
    """`name`, when Linux takes it for an interface. Errors: InvalidArgument."""
    if not _INTERFACE.fullmatch(name):
        raise InvalidArgument(f"invalid interface name {name!r}", hint="1 to 15 letters, digits, . _ or -")
    return name
