from __future__ import annotations

from barque_net_bridge.ruleset import (
    GuardRule,
    NetworkRules,
    PortRule,
    add_elements,
    delete_elements,
    guard_elements,
    network_elements,
    port_elements,
    table,
)


def test_network_elements() -> None:
    usual = network_elements(NetworkRules("barque0", "172.17.0.0/16"))
    assert usual == {
        "bridges": ['"barque0"'],
        "subnets": ['"barque0" . 172.17.0.0/16'],
        "sources": ["172.17.0.0/16"],
        "peers": ['"barque0" . "barque0"'],
    }
    internal = network_elements(NetworkRules("b", "10.0.0.0/24", internal=True))
    assert internal["internal"] == ['"b"']
    assert "sources" not in internal
    assert "sources" not in network_elements(NetworkRules("b", "10.0.0.0/24", masquerade=False))
    assert "peers" not in network_elements(NetworkRules("b", "10.0.0.0/24", icc=False))


def test_port_elements() -> None:
    ports = (
        PortRule("tcp", "0.0.0.0", 8080, "172.17.0.2", 80),
        PortRule("udp", "127.0.0.1", 53, "172.17.0.2", 5353),
        PortRule("tcp", "0.0.0.0", 8443, "172.17.0.2", 443),
    )
    assert port_elements(ports) == {
        "ports_any": ["tcp . 8080 : 172.17.0.2 . 80", "tcp . 8443 : 172.17.0.2 . 443"],
        "ports_address": ["127.0.0.1 . udp . 53 : 172.17.0.2 . 5353"],
    }
    assert port_elements(ports, keys_only=True)["ports_any"] == ["tcp . 8080", "tcp . 8443"]


def test_commands() -> None:
    assert add_elements("t", {"s": ["a", "b"], "empty": []}) == "add element ip t s { a, b }\n"
    guards = guard_elements([GuardRule("bqv1", "02:42:00:00:00:01", "10.0.0.2")])
    assert delete_elements("t", guards, "bridge") == (
        'delete element bridge t guarded { "bqv1" }\n'
        'delete element bridge t owners { "bqv1" . 02:42:00:00:00:01 . 10.0.0.2 }\n'
    )
    assert guard_elements([]) == {"guarded": [], "owners": []}


def test_table_is_replaced_or_kept_in_one_go() -> None:
    assert table("t", replace=True, guard=False).startswith("add table ip t\ndelete table ip t\ntable ip t {")
    assert table("t", replace=False, guard=False).startswith("add table ip t\nflush table ip t\ntable ip t {")
    assert "bridge" not in table("t", replace=True, guard=False).replace("bridges", "")
    assert "delete table bridge t\n" in table("t", replace=True, guard=True)
