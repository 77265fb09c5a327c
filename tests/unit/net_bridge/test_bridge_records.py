from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from barque.spi.errors import InvalidArgument
from barque.spi.network import Endpoint, PortBinding
from barque_net_bridge.guarding import GuardRule
from barque_net_bridge.records import addresses_of, guard_rule, link_local_data, port_rules, sound
from barque_net_bridge.ruleset import PortRule

GOOD = Endpoint(
    id="a" * 64, network_id="n", container_id="c", interface="eth0", host_interface="bqv1", mac="02:42:ac:11:00:02",
    ipv4="172.17.0.2/16", ports=(PortBinding(80, "tcp", "0.0.0.0", 8080),),
)  # fmt: skip
OTHER = replace(GOOD, id="b" * 64, host_interface="bqv2", ipv4="172.17.0.3/16", ports=())


def test_a_record_says_what_the_rules_are() -> None:
    assert [str(one) for one in addresses_of(GOOD)] == ["172.17.0.2"]
    assert port_rules(GOOD) == (PortRule("tcp", "0.0.0.0", 8080, "172.17.0.2", 80),)
    assert guard_rule(GOOD) == GuardRule("bqv1", "02:42:ac:11:00:02", ("172.17.0.2",))
    assert port_rules(OTHER) == ()


@pytest.mark.parametrize(
    "damage",
    [
        {"ipv4": ""},
        {"ipv4": "172.17.0.2 }; flush ruleset"},
        {"mac": "02:42"},
        {"host_interface": 'x" } flush'},
        {"host_interface": ""},
        {"ports": (PortBinding(80, "tcp } ; flush ruleset", "", 8080),)},
        {"ports": (PortBinding(80, "tcp", "0.0.0.0 }", 8080),)},
        {"ports": (PortBinding(80, "tcp", "", 99999),)},
    ],
    ids=str,
)
def test_a_damaged_record_is_left_out_and_told(
    damage: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    damaged = replace(GOOD, **damage)  # type: ignore[arg-type]
    assert sound([damaged, OTHER]) == [OTHER]
    assert "endpoint aaaaaaaaaaaa is not restored" in caplog.text


def test_what_two_claim_is_the_firsts(caplog: pytest.LogCaptureFixture) -> None:
    assert sound([GOOD, replace(OTHER, ipv4=GOOD.ipv4)]) == [GOOD]
    assert sound([GOOD, replace(OTHER, ports=GOOD.ports)]) == [GOOD]
    assert "belongs to endpoint aaaaaaaaaaaa" in caplog.text
    elsewhere = replace(OTHER, network_id="m", ipv4=GOOD.ipv4)
    assert sound([GOOD, elsewhere]) == [GOOD, elsewhere]


def test_no_address_is_an_error_of_the_request() -> None:
    for damage in ({"ipv4": "x"}, {"ipv4": ""}, {"ipv6": "fd00::2 }; flush"}):
        with pytest.raises(InvalidArgument, match=r"has no (sound )?address"):
            addresses_of(replace(GOOD, **damage))


def test_link_local_addresses_are_remembered() -> None:
    data = link_local_data([ip_interface("169.254.9.9/16"), ip_interface("fe80::9/64")])
    assert guard_rule(replace(GOOD, data=data)).addresses == ("172.17.0.2", "169.254.9.9", "fe80::9")
    assert link_local_data([]) == {}
    for damage in ("x", "fe80::1%eth0", "1.2.3.4 }"):
        with pytest.raises(InvalidArgument):
            guard_rule(replace(GOOD, data={"link_local": damage}))


def test_a_record_with_both_families() -> None:
    both = replace(GOOD, ipv6="fd00::2/64", ports=(*GOOD.ports, PortBinding(80, "tcp", "::", 8080)))
    assert port_rules(both)[1] == PortRule("tcp", "::", 8080, "fd00::2", 80)
    assert guard_rule(both).addresses == ("172.17.0.2", "fd00::2")
    with pytest.raises(InvalidArgument, match="has no address for a port on ::"):
        port_rules(replace(both, ipv6=""))
