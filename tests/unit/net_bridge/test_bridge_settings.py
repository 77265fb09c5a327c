from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from barque.spi.errors import InvalidArgument
from barque.spi.network import NetworkSpec
from barque_net_bridge.plugin import BridgeConfig, BridgeNetwork
from barque_net_bridge.settings import (
    Mode,
    Options,
    group_of,
    interface_name,
    mac_address,
    options_of,
    pools_of,
    table_name,
)

KEY = "com.docker.network.bridge."


def test_dockers_options() -> None:
    assert options_of(NetworkSpec("i", "n")) == Options("", False, True, True, "", 0)
    assert options_of(NetworkSpec("i", "bridge")).default
    spec = NetworkSpec(
        "i", "n",
        options={
            KEY + "name": "br7", KEY + "default_bridge": "true", KEY + "enable_icc": "False",
            KEY + "enable_ip_masquerade": "0", KEY + "host_binding_ipv4": "127.0.0.1",
            "com.docker.network.driver.mtu": "1400", "unknown": "ignored",
        },
    )  # fmt: skip
    assert options_of(spec) == Options("br7", True, False, False, "127.0.0.1", 1400)


@pytest.mark.parametrize(
    ("key", "value"),
    [(KEY + "enable_icc", "maybe"), (KEY + "name", "a/b"), (KEY + "gateway_mode_ipv6", "x"),
     (KEY + "gateway_mode_ipv4", "isolated"), ("com.docker.network.container_iface_prefix", "a/b"),
     ("com.docker.network.container_iface_prefix", "a" * 13), ("com.docker.network.driver.mtu", "67"),
     ("com.docker.network.driver.mtu", "65536"), ("com.docker.network.driver.mtu", "9" * 5000),
     ("com.docker.network.driver.mtu", "-1"), ("com.docker.network.driver.mtu", "१२३४")],
)  # fmt: skip
def test_malformed_option_is_refused(key: str, value: str) -> None:
    with pytest.raises(InvalidArgument):
        options_of(NetworkSpec("i", "n", options={key: value}))


def test_gateway_modes_and_the_rest() -> None:
    spec = NetworkSpec(
        "i", "n", internal=True,
        options={
            KEY + "gateway_mode_ipv4": "isolated", KEY + "gateway_mode_ipv6": "routed", KEY + "inhibit_ipv4": "true",
            "com.docker.network.container_iface_prefix": "net",
        },
    )  # fmt: skip
    options = options_of(spec)
    assert (options.mode(4), options.mode(6)) == (Mode.ISOLATED, Mode.ROUTED)
    assert (options.inhibit_ipv4, options.prefix) == (True, "net")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a" * 16, 'a"', "a\n", "ä", "a{", "a;b"])
def test_names_that_could_be_more_than_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        interface_name(name)
    with pytest.raises(InvalidArgument):
        BridgeNetwork("b", BridgeConfig(bridge=name))
    with pytest.raises(InvalidArgument):
        BridgeNetwork("b", BridgeConfig(table=name if name != "a" * 16 else "a" * 32))


def test_names() -> None:
    assert interface_name("br-0.1_x") == "br-0.1_x"
    assert table_name("barque_2") == "barque_2"
    assert group_of("barque0") != group_of("barque1")
    assert group_of("barque0") % 2 == 0


def test_pools() -> None:
    assert [(str(one), prefix) for one, prefix in pools_of(("10.0.0.0/23", "10.9.0.0/24"), 24)] == [
        ("10.0.0.0/23", 24), ("10.9.0.0/24", 24),
    ]  # fmt: skip
    for wrong, prefix in (("10.0.0.0/25", 24), ("10.0.0.1/24", 25), ("x", 24), ("10.0.0.0/8", 33)):
        with pytest.raises(InvalidArgument, match="invalid address pool"):
            list(pools_of((wrong,), prefix))


def test_mac_addresses() -> None:
    address = IPv4Address("172.17.0.2")
    assert mac_address("", address.packed) == "02:42:ac:11:00:02"
    assert mac_address("02:AB:00:00:00:01", address.packed) == "02:ab:00:00:00:01"
    for wrong in ("x", "01:00:00:00:00:01", "02-00-00-00-00-01", "02:00:00:00:00", "02:00:00:00:00:01\n"):
        with pytest.raises(InvalidArgument):
            mac_address(wrong, address.packed)
