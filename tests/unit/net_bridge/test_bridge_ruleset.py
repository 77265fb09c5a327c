from __future__ import annotations

from dataclasses import replace

import pytest

from barque_net_bridge.guarding import GuardRule, guard_elements, guard_table
from barque_net_bridge.ruleset import (
    FamilyRules,
    NetworkRules,
    PortRule,
    add_elements,
    delete_elements,
    families_of,
    network_elements,
    port_elements,
    table,
)
from barque_net_bridge.settings import Mode

V4 = FamilyRules(4, "172.17.0.0/16")
V6 = FamilyRules(6, "fd00::/64")


def test_network_elements() -> None:
    usual = NetworkRules("barque0", (V4,))
    assert families_of(usual) == {"ip"}
    assert network_elements(usual, "ip") == {
        "bridges": ['"barque0"'],
        "subnets": ['"barque0" . 172.17.0.0/16'],
        "sources": ["172.17.0.0/16"],
        "peers": ['"barque0" . "barque0"'],
    }
    internal = network_elements(replace(usual, internal=True), "ip")
    assert internal["internal"] == ['"barque0"']
    assert "sources" not in network_elements(NetworkRules("b", (replace(V4, masquerade=False),)), "ip")
    assert "peers" not in network_elements(replace(usual, icc=False), "ip")


def test_both_families_have_the_same_elements() -> None:
    both = NetworkRules("b", (V4, V6))
    assert families_of(both) == {"ip", "ip6"}
    assert network_elements(both, "ip").keys() == network_elements(both, "ip6").keys()
    assert network_elements(both, "ip6")["sources"] == ["fd00::/64"]


def test_network_without_ipv4_passes_none() -> None:
    only = NetworkRules("b", (V6,))
    assert families_of(only) == {"ip", "ip6"}
    assert network_elements(only, "ip") == {"bridges": ['"b"'], "internal": ['"b"'], "peers": ['"b" . "b"']}


@pytest.mark.parametrize(
    ("mode", "has", "lacks"),
    [(Mode.ROUTED, "routed", "sources"), (Mode.UNPROTECTED, "unprotected", "routed"), (Mode.NAT, "sources", "unprotected")],
)  # fmt: skip
def test_gateway_modes(mode: Mode, has: str, lacks: str) -> None:
    elements = network_elements(NetworkRules("b", (V4, replace(V6, mode=mode))), "ip6")
    assert has in elements
    assert lacks not in elements
    assert "routed" not in network_elements(NetworkRules("b", (V4, replace(V6, mode=mode))), "ip")


def test_port_elements() -> None:
    ports = (
        PortRule("tcp", "0.0.0.0", 8080, "172.17.0.2", 80),
        PortRule("udp", "127.0.0.1", 53, "172.17.0.2", 5353),
        PortRule("sctp", "0.0.0.0", 8443, "172.17.0.2", 443),
        PortRule("tcp", "::", 8080, "fd00::2", 80),
        PortRule("tcp", "::1", 8081, "fd00::2", 80),
        PortRule("tcp", "::", 0, "fd00::2", 81),
    )
    assert port_elements(ports, "ip") == {
        "ports_any": ["tcp . 8080 : 172.17.0.2 . 80", "sctp . 8443 : 172.17.0.2 . 443"],
        "ports_address": ["127.0.0.1 . udp . 53 : 172.17.0.2 . 5353"],
    }
    assert port_elements(ports, "ip6") == {
        "ports_any": ["tcp . 8080 : fd00::2 . 80"],
        "ports_address": ["::1 . tcp . 8081 : fd00::2 . 80"],
        "open": ["fd00::2 . tcp . 81"],
    }
    assert port_elements(ports, "ip", keys_only=True)["ports_any"] == ["tcp . 8080", "sctp . 8443"]


def test_commands() -> None:
    assert add_elements("t", {"s": ["a", "b"], "empty": []}) == "add element ip t s { a, b }\n"
    guards = guard_elements([GuardRule("bqv1", "02:42:00:00:00:01", ("10.0.0.2",))])
    assert delete_elements("t", guards, "bridge") == (
        'delete element bridge t guarded { "bqv1" }\n'
        'delete element bridge t owners { "bqv1" . 02:42:00:00:00:01 . 10.0.0.2 }\n'
    )
    assert not any(guard_elements([]).values())


def test_guard_of_an_ipv6_address_knows_the_link_local_one() -> None:
    elements = guard_elements([GuardRule("bqv1", "02:42:0a:00:00:02", ("10.0.0.2", "fd00::2"))])
    own, local = "fd00::2", "fe80::42:aff:fe00:2"
    assert elements["owners6"] == [f'"bqv1" . 02:42:0a:00:00:02 . {address}' for address in (own, local)]
    assert elements["targets"] == [
        '"bqv1" . 0xfd000000000000000000000000000002', '"bqv1" . 0xfe8000000000000000420afffe000002',
    ]  # fmt: skip


def test_tables_are_replaced_or_kept_in_one_go() -> None:
    assert table("t", ["ip"], replace=True).startswith("add table ip t\ndelete table ip t\ntable ip t {")
    assert table("t", ["ip"], replace=False).startswith("add table ip t\nflush table ip t\ntable ip t {")
    assert "delete table bridge t\n" in guard_table("t", replace=True)


def test_both_families_have_the_same_rules() -> None:
    texts = [table("t", [family], replace=True) for family in ("ip", "ip6")]
    words = {"ip6": "ip", "ipv6_addr": "ipv4_addr", "::1": "127.0.0.0/8", "ipv6-icmp": "icmp"}
    for six, four in words.items():
        texts[1] = texts[1].replace(six, four)
    assert texts[0] == texts[1]
