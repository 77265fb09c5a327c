"""The driver's configuration and a network's options, checked and in their own types."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network

from barque.spi.errors import InvalidArgument
from barque.spi.network import NetworkSpec

__all__ = [
    "Mode",
    "Options",
    "group_of",
    "interface_name",
    "mac_address",
    "options_of",
    "pools_of",
    "table_name",
]

_INTERFACE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,15}")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_TABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_BRIDGE_OPTION = "com.docker.network.bridge."
_TRUE, _FALSE = {"1", "t", "true"}, {"0", "f", "false"}


class Mode(StrEnum):
    """What a network's gateway does for a family (Docker's gateway modes)."""

    NAT = "nat"  # behind the host's address; what is published is reached through it
    UNPROTECTED = "nat-unprotected"  # the same, and every port is reached by who routes to the subnet
    ROUTED = "routed"  # own addresses; what is published is reached at them
    ISOLATED = "isolated"  # internal networks only: the host has no address there either


@dataclass(frozen=True, slots=True)
class Options:
    """What Docker's bridge options say: `mtu` 0, `bridge` and `prefix` empty where they say nothing. `inhibit_ipv4`: the bridge gets
    no IPv4 address; `prefix`: of interface names in containers."""

    bridge: str
    default: bool
    icc: bool
    masquerade: bool
    host_ip: str
    mtu: int
    mode4: Mode = Mode.NAT
    mode6: Mode = Mode.NAT
    inhibit_ipv4: bool = False
    prefix: str = ""

    def mode(self, version: int) -> Mode:
        """The gateway mode for IP version 4 or 6."""
        return self.mode4 if version == 4 else self.mode6


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
        mode4=_mode(spec, _BRIDGE_OPTION + "gateway_mode_ipv4"),
        mode6=_mode(spec, _BRIDGE_OPTION + "gateway_mode_ipv6"),
        inhibit_ipv4=_flag(options, _BRIDGE_OPTION + "inhibit_ipv4", default=False),
        prefix=_prefix(options.get("com.docker.network.container_iface_prefix", "")),
    )


def interface_name(name: str) -> str:
    """`name`, when Linux and nft take it for an interface. Errors: InvalidArgument."""
    if not _INTERFACE.fullmatch(name):
        raise InvalidArgument(f"invalid interface name {name!r}", hint="1 to 15 letters, digits, . _ or -")
    return name


def mac_address(wanted: str, packed: bytes) -> str:
    """The hardware address asked for, or one made of the IP address: a neighbour's ARP entry stays true.

    Errors: InvalidArgument.
    """
    if not wanted:
        return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + packed[-4:])
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


def pools_of(pools: tuple[str, ...], prefix: int) -> Iterator[tuple[IPv4Network | IPv6Network, int]]:
    """The pools, each with the prefix length of the subnets that are cut from it. Errors: InvalidArgument."""
    for pool in pools:
        try:
            network = ip_network(pool)
        except ValueError as error:
            raise InvalidArgument(f"invalid address pool {pool!r}: {error}") from error
        if not network.prefixlen <= prefix <= network.max_prefixlen:
            raise InvalidArgument(f"invalid address pool {pool!r} for subnets of /{prefix}")
        yield network, prefix


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


def _mode(spec: NetworkSpec, key: str) -> Mode:
    value = spec.options.get(key, "")
    try:
        mode = Mode(value) if value else Mode.NAT
    except ValueError:
        raise InvalidArgument(
            f"unknown gateway mode {value} of network option {key}",
            hint=f"use one of {', '.join(Mode)}",
        ) from None
    if mode is Mode.ISOLATED and not spec.internal:
        raise InvalidArgument(
            "gateway mode 'isolated' can only be used for an internal network", hint="add --internal"
        )
    return mode


def _prefix(value: str) -> str:
    if value and (len(value) > 12 or not _INTERFACE.fullmatch(value)):
        raise InvalidArgument(f"invalid interface prefix {value!r}", hint="1 to 12 letters, digits, . _ or -")
    return value


def _mtu(value: str) -> int:
    if value == "0" or (value.isascii() and value.isdecimal() and 68 <= int(value[:6]) <= 65535):
        return int(value)
    raise InvalidArgument(f"invalid MTU {value!r}", hint="68 to 65535 bytes")
