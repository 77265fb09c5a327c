"""The driver's configuration and a network's options, checked and in their own types."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from barque.spi.errors import InvalidArgument
from barque.spi.network import NetworkSpec, Subnet

__all__ = [
    "Options",
    "group_of",
    "interface_name",
    "mac_address",
    "options_of",
    "pools_of",
    "subnet_of",
    "table_name",
]

_INTERFACE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,15}")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_TABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_BRIDGE_OPTION = "com.docker.network.bridge."
_TRUE, _FALSE = {"1", "t", "true"}, {"0", "f", "false"}


@dataclass(frozen=True, slots=True)
class Options:
    """What Docker's bridge options say: `mtu` 0 and `bridge` empty where they say nothing."""

    bridge: str
    default: bool
    icc: bool
    masquerade: bool
    host_ip: str
    mtu: int


def options_of(spec: NetworkSpec) -> Options:
    """The options of a network, under Docker's keys. Errors: InvalidArgument."""
    options = spec.options
    bridge = options.get(_BRIDGE_OPTION + "name", "")
    return Options(
        bridge=interface_name(bridge) if bridge else "",
        default=_flag(options, _BRIDGE_OPTION + "default_bridge", default=spec.name == "bridge"),
        icc=_flag(options, _BRIDGE_OPTION + "enable_icc", default=True),
        masquerade=_flag(options, _BRIDGE_OPTION + "enable_ip_masquerade", default=True),
        host_ip=options.get(_BRIDGE_OPTION + "host_binding_ipv4", ""),
        mtu=_mtu(options.get("com.docker.network.driver.mtu", "0")),
    )


def interface_name(name: str) -> str:
    """`name`, when Linux and nft take it for an interface. Errors: InvalidArgument."""
    if not _INTERFACE.fullmatch(name):
        raise InvalidArgument(f"invalid interface name {name!r}", hint="1 to 15 letters, digits, . _ or -")
    return name


def mac_address(wanted: str, address: IPv4Address) -> str:
    """The hardware address asked for, or one made of the IP address: a neighbour's ARP entry stays true.

    Errors: InvalidArgument.
    """
    if not wanted:
        return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + address.packed)
    if not _MAC.fullmatch(wanted) or int(wanted[:2], 16) & 1:
        raise InvalidArgument(f"invalid MAC address {wanted!r}", hint="six hex bytes, the first one even")
    return wanted.lower()


def table_name(name: str) -> str:
    """`name`, when nft takes it for a table. Errors: InvalidArgument."""
    if not _TABLE.fullmatch(name):
        raise InvalidArgument(
            f"invalid nftables table name {name!r}", hint="a letter, then letters, digits or _"
        )
    return name


def subnet_of(subnet: Subnet) -> tuple[IPv4Network, IPv4Address]:
    """A subnet and its gateway, the first address when none is named. Errors: InvalidArgument."""
    try:
        network = IPv4Network(subnet.cidr)
        gateway = IPv4Address(subnet.gateway) if subnet.gateway else network.network_address + 1
    except ValueError as error:
        raise InvalidArgument(
            f"invalid subnet {subnet.cidr!r}, gateway {subnet.gateway!r}: {error}"
        ) from error
    if network.prefixlen > 30:
        raise InvalidArgument(
            f"subnet {network} has no room for containers", hint="use a prefix of /30 or shorter"
        )
    if gateway not in network or gateway in (network.network_address, network.broadcast_address):
        raise InvalidArgument(f"gateway {gateway} is no host address of subnet {network}")
    return network, gateway


def pools_of(pools: tuple[str, ...], prefix: int) -> Iterator[IPv4Network]:
    """The subnets of length `prefix` in the pools, in order. Errors: InvalidArgument."""
    for pool in pools:
        try:
            yield from IPv4Network(pool).subnets(new_prefix=prefix)
        except ValueError as error:
            raise InvalidArgument(
                f"invalid address pool {pool!r} for subnets of /{prefix}: {error}"
            ) from error


def group_of(bridge: str) -> int:
    """The interface group (ip-link(8)) that marks the links of this instance; the next number is for its dead ones.

    Instances in one network namespace differ in their default bridge, hence in their groups.
    """
    return 0x42000000 | (zlib.crc32(bridge.encode()) & 0x00FFFFFE)


def _flag(options: Mapping[str, str], key: str, *, default: bool) -> bool:
    value = options.get(key, "").lower()
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    if value:
        raise InvalidArgument(
            f"invalid value {options[key]!r} of network option {key}", hint="use true or false"
        )
    return default


def _mtu(value: str) -> int:
    if value == "0" or (value.isascii() and value.isdecimal() and 68 <= int(value[:6]) <= 65535):
        return int(value)
    raise InvalidArgument(f"invalid MTU {value!r}", hint="68 to 65535 bytes")
