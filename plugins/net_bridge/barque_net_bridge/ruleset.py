"""The table `ip barque`: what it says, and the elements that networks and published ports are in it.

The rules never change. A network is a few elements of sets, a published port is one element of a map, so a packet
costs the same with one port or with ten thousand, and each change is one small transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = [
    "GuardRule",
    "NetworkRules",
    "PortRule",
    "add_elements",
    "delete_elements",
    "guard_elements",
    "network_elements",
    "no_table",
    "port_elements",
    "table",
]

ANY = "0.0.0.0"

Elements = Mapping[str, list[str]]

_TABLE = """\
table ip {table} {{
  set bridges {{ type ifname; }}
  set internal {{ type ifname; }}
  set peers {{ type ifname . ifname; }}
  set subnets {{ type ifname . ipv4_addr; flags interval; }}
  set sources {{ type ipv4_addr; flags interval; }}
  map ports_any {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map ports_address {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}

  chain loopback {{
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname != "lo" ip saddr 127.0.0.0/8 drop
  }}
  chain publish {{
    dnat ip to ip daddr . meta l4proto . th dport map @ports_address
    dnat ip to meta l4proto . th dport map @ports_any
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
    drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname @bridges jump inward
    iifname @internal drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname @bridges ip saddr 127.0.0.0/8 masquerade
    oifname . ip saddr @subnets ct status dnat masquerade
    ip saddr @sources oifname != @bridges masquerade
  }}
}}
"""
# loopback     route_localnet lets 127/8 through a bridge for ports that are published on this host; nothing of
#              127/8 comes from or goes to the wire, not even a frame that a container forges.
# publish      the more specific address first. Misses fall through.
# inward       towards a container: its neighbours, answers, and what a published port translated. All else,
#              other networks and LAN peers that route to the subnet included, stops here.
# postrouting  answers must come back through this host: for loopback sources, for a container that talks
#              to a published port of its own network, and for what leaves to the world.


_GUARD = """\
table bridge {table} {{
  set guarded {{ type ifname; }}
  set owners {{ type ifname . ether_addr . ipv4_addr; }}

  chain prerouting {{
    type filter hook prerouting priority -300; policy accept;
    iifname @guarded jump source
  }}
  chain source {{
    ether type ip iifname . ether saddr . ip saddr @owners accept
    ether type arp iifname . arp saddr ether . arp saddr ip @owners accept
    drop
  }}
}}
"""
# source       what a guarded port sends is IPv4 or ARP, and from the addresses that its endpoint has.


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """A network as the firewall sees it. `icc`: its containers may talk to each other."""

    bridge: str
    subnet: str
    internal: bool = False
    icc: bool = True
    masquerade: bool = True


@dataclass(frozen=True, slots=True)
class PortRule:
    """A published port: host address (`0.0.0.0`: any) and port, container address and port."""

    protocol: str
    host_ip: str
    host_port: int
    address: str
    container_port: int


@dataclass(frozen=True, slots=True)
class GuardRule:
    """The addresses that may come from the bridge port `host`."""

    host: str
    mac: str
    address: str


def table(name: str, *, replace: bool, guard: bool) -> str:
    """Commands that assert the table, with `guard` that of family bridge too: empty of elements (`replace`), or
    with the elements it has."""
    forget = "delete" if replace else "flush"
    texts = {"ip": _TABLE, "bridge": _GUARD} if guard else {"ip": _TABLE}
    return "".join(
        f"add table {family} {name}\n{forget} table {family} {name}\n{text.format(table=name)}"
        for family, text in texts.items()
    )


def no_table(name: str, *, guard: bool) -> str:
    """Commands that remove the table; adding it first lets them succeed where there is none."""
    families = ("ip", "bridge") if guard else ("ip",)
    return "".join(f"add table {family} {name}\ndelete table {family} {name}\n" for family in families)


def network_elements(rules: NetworkRules) -> Elements:
    """The elements of a network, by set."""
    bridge = f'"{rules.bridge}"'
    elements = {"bridges": [bridge], "subnets": [f"{bridge} . {rules.subnet}"]}
    if rules.internal:
        elements["internal"] = [bridge]
    elif rules.masquerade:
        elements["sources"] = [rules.subnet]
    if rules.icc:
        elements["peers"] = [f"{bridge} . {bridge}"]
    return elements


def port_elements(ports: Iterable[PortRule], *, keys_only: bool = False) -> Elements:
    """The elements of published ports, by map; only their keys for a deletion."""
    elements: dict[str, list[str]] = {}
    for port in ports:
        key = f"{port.protocol} . {port.host_port}"
        name = "ports_any"
        if port.host_ip != ANY:
            key, name = f"{port.host_ip} . {key}", "ports_address"
        target = "" if keys_only else f" : {port.address} . {port.container_port}"
        elements.setdefault(name, []).append(key + target)
    return elements


def guard_elements(rules: Iterable[GuardRule]) -> Elements:
    """The elements of guarded ports, in the table of family bridge."""
    every = list(rules)
    return {
        "guarded": [f'"{rule.host}"' for rule in every],
        "owners": [f'"{rule.host}" . {rule.mac} . {rule.address}' for rule in every],
    }


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
