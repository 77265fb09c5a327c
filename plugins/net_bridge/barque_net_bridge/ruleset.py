"""The tables `ip barque` and `ip6 barque`: what they say, and the elements that networks and published ports are in them.

The rules never change. A network is a few elements of sets, a published port is one element of a map, so a packet
costs the same with one port or with ten thousand, and each change is one small transaction.
Both families have the same rules, from one text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from barque_net_bridge.bindings import ANY4, ANY6
from barque_net_bridge.settings import Mode

__all__ = [
    "FamilyRules",
    "NetworkRules",
    "PortRule",
    "add_elements",
    "delete_elements",
    "families_of",
    "network_elements",
    "no_table",
    "port_elements",
    "table",
]

Elements = Mapping[str, list[str]]

_TABLE = """\
table {ip} {table} {{
  set bridges {{ type ifname; }}
  set internal {{ type ifname; }}
  set peers {{ type ifname . ifname; }}
  set subnets {{ type ifname . {address}; flags interval; }}
  set sources {{ type {address}; flags interval; }}
  set routed {{ type ifname; }}
  set unprotected {{ type ifname; }}
  set open {{ type {address} . inet_proto . inet_service; }}
  map ports_any {{ type inet_proto . inet_service : {address} . inet_service; }}
  map ports_address {{ type {address} . inet_proto . inet_service : {address} . inet_service; }}

  chain loopback {{
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" {ip} daddr {loopback} drop
    iifname != "lo" {ip} saddr {loopback} drop
  }}
  chain publish {{
    dnat {ip} to {ip} daddr . meta l4proto . th dport map @ports_address
    dnat {ip} to meta l4proto . th dport map @ports_any
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump publish
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    fib daddr type local jump publish
  }}
  chain inward {{
    iifname . oifname @peers accept
    iifname @internal drop
    oifname @internal drop
    ct state established,related accept
    ct status dnat accept
    {ip} daddr . meta l4proto . th dport @open accept
    oifname @routed meta l4proto {icmp} accept
    oifname @unprotected accept
    drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname @bridges jump inward
    iifname @internal drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname @bridges {ip} saddr {loopback} masquerade
    oifname . {ip} saddr @subnets ct status dnat masquerade
    {ip} saddr @sources oifname != @bridges masquerade
  }}
}}
"""
# loopback     route_localnet lets 127/8 through a bridge for ports that are published on this host; nothing of
#              127/8 comes from or goes to the wire, not even a frame that a container forges.
# publish      the more specific address first. Misses fall through.
# inward       towards a container: its neighbours, answers, what a published port translated, what a network that is routed
#              to has open. All else, other networks and LAN peers that route to the subnet included, stops here.
#              Internal networks come before answers: who forges the addresses of a connection does not get out with them.
# postrouting  answers must come back through this host: for loopback sources, for a container that talks
#              to a published port of its own network, and for what leaves to the world.

_WORDS = {
    "ip": {"address": "ipv4_addr", "loopback": "127.0.0.0/8", "icmp": "icmp"},
    "ip6": {"address": "ipv6_addr", "loopback": "::1", "icmp": "ipv6-icmp"},
}
_FAMILIES = {4: "ip", 6: "ip6"}


@dataclass(frozen=True, slots=True)
class FamilyRules:
    """What a network has of IP version 4 or 6. `masquerade`: what leaves gets the host's address."""

    version: int
    subnet: str
    masquerade: bool = True
    mode: Mode = Mode.NAT


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """A network as the firewall sees it. `icc`: its containers may talk to each other."""

    bridge: str
    families: tuple[FamilyRules, ...]
    internal: bool = False
    icc: bool = True


@dataclass(frozen=True, slots=True)
class PortRule:
    """A published port: host address (`0.0.0.0`, `::`: any) and port, container address and port.

    Host port 0: nothing is translated, the container's own port is open to everybody.
    """

    protocol: str
    host_ip: str
    host_port: int
    address: str
    container_port: int

    @property
    def family(self) -> str:
        """The family of the table that it is in."""
        return "ip6" if ":" in self.address else "ip"


def table(name: str, families: Iterable[str], *, replace: bool) -> str:
    """Commands that assert the tables of `ip` or `ip6`: empty of elements (`replace`), or with the elements they have."""
    forget = "delete" if replace else "flush"
    return "".join(
        f"add table {family} {name}\n{forget} table {family} {name}\n"
        + _TABLE.format(table=name, ip=family, **_WORDS[family])
        for family in families
    )


def no_table(name: str, families: Iterable[str]) -> str:
    """Commands that remove the tables; adding them first lets them succeed where there is none."""
    return "".join(f"add table {family} {name}\ndelete table {family} {name}\n" for family in families)


def families_of(rules: NetworkRules) -> set[str]:
    """The tables that a network is in: always `ip`, for its bridge could pass IPv4 even if it has no such addresses."""
    return {"ip"} | {_FAMILIES[one.version] for one in rules.families}


def network_elements(rules: NetworkRules, family: str) -> Elements:
    """The elements of a network, by set, in the table of a family."""
    bridge = f'"{rules.bridge}"'
    elements = {"bridges": [bridge]}
    own = next((one for one in rules.families if _FAMILIES[one.version] == family), None)
    if rules.internal or own is None:
        elements["internal"] = [bridge]
    if rules.icc:
        elements["peers"] = [f"{bridge} . {bridge}"]
    if own is None:
        return elements
    elements["subnets"] = [f"{bridge} . {own.subnet}"]
    if own.mode is Mode.ROUTED:
        elements["routed"] = [bridge]
    elif own.masquerade:
        elements["sources"] = [own.subnet]
    if own.mode is Mode.UNPROTECTED:
        elements["unprotected"] = [bridge]
    return elements


def port_elements(ports: Iterable[PortRule], family: str, *, keys_only: bool = False) -> Elements:
    """The elements of published ports, by map, in the table of a family; only their keys for a deletion."""
    elements: dict[str, list[str]] = {}
    for port in ports:
        if port.family != family:
            continue
        if not port.host_port:
            open_port = f"{port.address} . {port.protocol} . {port.container_port}"
            elements.setdefault("open", []).append(open_port)
            continue
        key = f"{port.protocol} . {port.host_port}"
        name = "ports_any"
        if port.host_ip not in (ANY4, ANY6):
            key, name = f"{port.host_ip} . {key}", "ports_address"
        target = "" if keys_only else f" : {port.address} . {port.container_port}"
        elements.setdefault(name, []).append(key + target)
    return elements


def add_elements(name: str, elements: Elements, family: str = "ip") -> str:
    """Commands that add elements to the sets and maps of table `name`."""
    return _elements("add", family, name, elements)


def delete_elements(name: str, elements: Elements, family: str = "ip") -> str:
    """Commands that delete them."""
    return _elements("delete", family, name, elements)


def _elements(verb: str, family: str, name: str, elements: Elements) -> str:
    return "".join(
        f"{verb} element {family} {name} {container} {{ {', '.join(items)} }}\n"
        for container, items in elements.items()
        if items
    )
