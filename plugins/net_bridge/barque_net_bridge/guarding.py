"""The table `bridge barque`: what may come from a container's interface, where that is asked for (`antispoof`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

__all__ = ["GuardRule", "guard_elements", "guard_table"]

_GUARD = """\
add table bridge {table}
{forget} table bridge {table}
table bridge {table} {{
  set guarded {{ type ifname; }}
  set owners {{ type ifname . ether_addr . ipv4_addr; }}
  set owners6 {{ type ifname . ether_addr . ipv6_addr; }}
  set targets {{ typeof iifname . @th,64,128; }}

  chain prerouting {{
    type filter hook prerouting priority -300; policy accept;
    iifname @guarded jump source
  }}
  chain source {{
    ether type ip iifname . ether saddr . ip saddr @owners accept
    ether type arp iifname . arp saddr ether . arp saddr ip @owners accept
    icmpv6 type {{ nd-router-advert, nd-redirect }} drop
    icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @targets drop
    ether type ip6 iifname . ether saddr . ip6 saddr @owners6 accept
    drop
  }}
}}
"""
# source       what a guarded port sends is IPv4, ARP or IPv6, and from the addresses that its endpoint has. What it says of IPv6
#              neighbours is of itself (the target of an advertisement is 64 bits into the ICMPv6 header), and it is no router.


@dataclass(frozen=True, slots=True)
class GuardRule:
    """The addresses that may come from the bridge port `host`."""

    host: str
    mac: str
    addresses: tuple[str, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """Those, and with an IPv6 one the link-local address that the kernel makes of `mac`."""
        if not any(":" in address for address in self.addresses):
            return self.addresses
        octets = bytes.fromhex(self.mac.replace(":", ""))
        identifier = bytes((octets[0] ^ 2,)) + octets[1:3] + b"\xff\xfe" + octets[3:]
        return (*self.addresses, str(IPv6Address(b"\xfe\x80" + bytes(6) + identifier)))


def guard_table(name: str, *, replace: bool) -> str:
    """Commands that assert the table, empty of elements (`replace`) or with those it has."""
    return _GUARD.format(table=name, forget="delete" if replace else "flush")


def guard_elements(rules: Iterable[GuardRule]) -> Mapping[str, list[str]]:
    """The elements of guarded ports, by set."""
    elements: dict[str, list[str]] = {"guarded": [], "owners": [], "owners6": [], "targets": []}
    for rule in rules:
        elements["guarded"].append(f'"{rule.host}"')
        for address in rule.sources:
            owners = "owners6" if ":" in address else "owners"
            elements[owners].append(f'"{rule.host}" . {rule.mac} . {address}')
            if ":" in address:
                elements["targets"].append(f'"{rule.host}" . 0x{int(IPv6Address(address)):032x}')
    return elements
