"""The bridge driver and IPv6: real traffic, as strict as that of IPv4, in a LAN of namespaces."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from bridge_rig import Rig, address, address6, link_address, listen_udp, received, shell

from barque.spi.errors import InvalidArgument
from barque.spi.network import Endpoint, NetworkSpec, PortBinding, Subnet
from barque.testing.lan import ask, forge_icmp6, forge_udp, inside, lan, serve, unreachable
from barque_net_bridge.plugin import BridgeConfig

pytestmark = pytest.mark.root

MODE = "com.docker.network.bridge.gateway_mode_ipv6"
BOTH = (Subnet("10.77.0.0/24"), Subnet("fd77::/64"))


def _frames_pass_ip_hooks(on: bool) -> None:
    for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
        switch = Path("/proc/sys/net/bridge") / name
        if switch.exists():
            switch.write_text("1" if on else "0")


@pytest.fixture
def rig() -> Iterator[Rig]:
    with lan() as wire, ExitStack() as cleanup:
        _frames_pass_ip_hooks(on=False)
        yield Rig(wire, cleanup)


@pytest.fixture
def dual(rig: Rig) -> NetworkSpec:
    return rig.network("dual", ipv6=True, subnets=BOTH)


def route_to_containers(rig: Rig) -> None:
    for family, subnet, way in (
        ("-4", BOTH[0], rig.wire.host_address),
        ("-6", BOTH[1], rig.wire.host_address6),
    ):
        shell(rig.wire.peer, "ip", family, "route", "add", subnet.cidr, "via", way)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_container_reaches_the_outside_with_the_hosts_address(
    rig: Rig, dual: NetworkSpec, protocol: str
) -> None:
    _, netns = rig.container(network=dual)
    with serve(rig.wire.peer, 7000, protocol, "::"):
        assert ask(netns, rig.wire.peer_address6, 7000, protocol) == rig.wire.host_address6


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("bridged_frames", [False, True], ids=["plain", "br_netfilter"])
def test_published_port_from_everywhere(
    rig: Rig, dual: NetworkSpec, protocol: str, bridged_frames: bool
) -> None:
    _frames_pass_ip_hooks(bridged_frames)
    _, netns = rig.container(PortBinding(80, protocol, host_port=8080), network=dual)
    _, neighbour = rig.container(network=dual)
    _, stranger = rig.container(network=rig.network("other", ipv6=True))
    gateway, host = "fd77::1", rig.wire.host_address6
    with serve(netns, 80, protocol, "::"):
        assert ask(rig.wire.peer, host, 8080, protocol) == rig.wire.peer_address6
        assert ask(None, host, 8080, protocol) == host
        if not bridged_frames:  # then the kernel drops the answer before it is the host's again
            assert ask(None, "::1", 8080, protocol) == gateway
        assert ask(netns, host, 8080, protocol) == gateway  # hairpin
        assert ask(neighbour, host, 8080, protocol)
        assert ask(stranger, host, 8080, protocol)


@pytest.mark.row("S37")
def test_port_published_on_loopback_is_for_this_host_only(rig: Rig, dual: NetworkSpec) -> None:
    endpoint, netns = rig.container(PortBinding(80, "udp", host_ip="::1", host_port=8080), network=dual)
    route_to_containers(rig)
    with serve(netns, 80, "udp", "::"):
        assert ask(None, "::1", 8080, "udp")
        assert unreachable(rig.wire.peer, rig.wire.host_address6, 8080, "udp")
        assert unreachable(rig.wire.peer, address6(endpoint), 80, "udp")
    listener = listen_udp(rig, netns, "::", 80)
    target = link_address(rig.wire.host_interface)
    for source in (rig.wire.peer_address6, "::1"):
        forge_udp(rig.wire.peer, "eth0", target, source, "::1", 8080)
        assert not received(listener)


def test_port_published_on_one_address(rig: Rig, dual: NetworkSpec) -> None:
    host = rig.wire.host_address6
    endpoint, netns = rig.container(PortBinding(80, host_ip=host, host_port=8080), network=dual)
    assert [port.host_ip for port in endpoint.ports] == [host]
    with serve(netns, 80, address="::"):
        assert ask(rig.wire.peer, host, 8080) == rig.wire.peer_address6
        assert unreachable(None, "::1", 8080)


@pytest.mark.row("S38")
def test_networks_are_isolated_from_each_other(rig: Rig, dual: NetworkSpec) -> None:
    one, one_ns = rig.container(network=dual)
    two, two_ns = rig.container(network=rig.network("other", ipv6=True))
    with serve(one_ns, 80, address="::"), serve(two_ns, 80, address="::"):
        assert ask(None, address6(one), 80)
        assert unreachable(two_ns, address6(one), 80)
        assert unreachable(one_ns, address6(two), 80)


@pytest.mark.row("S39")
@pytest.mark.parametrize("ipv4", [True, False])
def test_internal_network_has_no_way_out_and_none_in(rig: Rig, ipv4: bool) -> None:
    rig.network("door", ipv6=True)  # forwarding is on
    subnets = BOTH if ipv4 else BOTH[1:]
    network = rig.network("inner", internal=True, ipv4=ipv4, ipv6=True, subnets=subnets)
    one, one_ns = rig.container(PortBinding(80, host_port=8080), network=network)
    _, two_ns = rig.container(network=network)
    assert one.ports == ()
    assert "default" not in shell(one_ns, "ip", "-6", "route")
    shell(one_ns, "ip", "-6", "route", "add", "default", "via", network.subnets[-1].gateway)
    route_to_containers(rig)
    with serve(one_ns, 80, address="::"), serve(rig.wire.peer, 53, "udp", "::"):
        assert ask(two_ns, address6(one), 80)
        assert unreachable(one_ns, rig.wire.peer_address6, 53, "udp")
        assert unreachable(rig.wire.peer, address6(one), 80)
    # A frame of IPv4 that a container forges where its network has none gets no further either.
    listener = listen_udp(rig, rig.wire.peer, "0.0.0.0", 7000)
    forge_udp(one_ns, "eth0", link_address(f"bq-{network.id[:12]}"), "10.77.0.9", rig.wire.peer_address, 7000)
    assert not received(listener)


def test_icc_off_keeps_containers_of_a_network_apart(rig: Rig) -> None:
    options = {"com.docker.network.bridge.enable_icc": "false"}
    network = rig.network("apart", ipv6=True, subnets=BOTH, options=options)
    one, one_ns = rig.container(PortBinding(80, host_port=8080), network=network)
    two, two_ns = rig.container(network=network)
    with serve(one_ns, 80, address="::"):
        assert unreachable(two_ns, address6(one), 80)
        assert ask(rig.wire.peer, rig.wire.host_address6, 8080)
        listener = listen_udp(rig, one_ns, "::", 7000)
        forge_udp(two_ns, "eth0", link_address(f"bq-{network.id[:12]}"), address6(two), address6(one), 7000)
        assert not received(listener)


def test_unpublished_port_is_unreachable_from_the_lan(rig: Rig, dual: NetworkSpec) -> None:
    endpoint, netns = rig.container(PortBinding(80, host_port=8080), network=dual)
    route_to_containers(rig)
    with serve(netns, 80, address="::"), serve(netns, 81, address="::"):
        assert unreachable(rig.wire.peer, address6(endpoint), 81)
        assert unreachable(rig.wire.peer, address6(endpoint), 80)  # published, but not this way


def test_routed_network_has_its_published_ports_open(rig: Rig) -> None:
    network = rig.network("routed", ipv6=True, subnets=BOTH, options={MODE: "routed"})
    endpoint, netns = rig.container(PortBinding(80, host_port=8080), network=network)
    assert {port.host_ip: port.host_port for port in endpoint.ports} == {"0.0.0.0": 8080, "::": 0}
    route_to_containers(rig)
    with (
        serve(netns, 80, address="::"),
        serve(netns, 81, address="::"),
        serve(rig.wire.peer, 82, address="::"),
    ):
        assert ask(rig.wire.peer, address6(endpoint), 80) == rig.wire.peer_address6
        assert unreachable(rig.wire.peer, address6(endpoint), 81)
        assert unreachable(rig.wire.peer, rig.wire.host_address6, 8080)
        assert ask(netns, rig.wire.peer_address6, 82) == address6(endpoint)  # nothing is translated
    with serve(netns, 80):
        assert ask(rig.wire.peer, rig.wire.host_address, 8080)
        assert unreachable(rig.wire.peer, address(endpoint), 80)
    rig.driver.network_detach(endpoint, None)
    with serve(netns, 80, address="::"):
        assert unreachable(rig.wire.peer, address6(endpoint), 80)


def test_unprotected_network_is_open_to_who_routes_there(rig: Rig) -> None:
    network = rig.network("open", ipv6=True, subnets=BOTH, options={MODE: "nat-unprotected"})
    endpoint, netns = rig.container(PortBinding(80, host_port=8080), network=network)
    route_to_containers(rig)
    with serve(netns, 80, address="::"), serve(netns, 81, address="::"):
        assert ask(rig.wire.peer, address6(endpoint), 81) == rig.wire.peer_address6
        assert ask(rig.wire.peer, rig.wire.host_address6, 8080) == rig.wire.peer_address6


def test_isolated_network_lacks_the_host_too(rig: Rig) -> None:
    options = {MODE: "isolated", MODE.replace("6", "4"): "isolated"}
    network = rig.network("alone", internal=True, ipv6=True, subnets=BOTH, options=options)
    assert [subnet.gateway for subnet in network.subnets] == ["", ""]
    assert rig.driver.network_create(network) == network
    one, one_ns = rig.container(network=network)
    _, two_ns = rig.container(network=network)
    shown = shell(None, "ip", "address", "show", f"bq-{network.id[:12]}")
    assert "inet " not in shown
    assert "fd77:" not in shown
    with serve(one_ns, 80, address="::"):
        assert ask(two_ns, address6(one), 80)
    with pytest.raises(InvalidArgument, match="can only be used for an internal network"):
        rig.network("wrong", options=options)


@pytest.mark.row("S38")
@pytest.mark.parametrize(
    "sabotage", ["delete table ip6 barque", "flush chain ip6 barque inward", "flush ruleset"]
)
def test_rules_that_somebody_removes_come_back(rig: Rig, dual: NetworkSpec, sabotage: str) -> None:
    _, netns = rig.container(PortBinding(80, host_port=8080), network=dual)
    before = shell(None, "nft", "list", "ruleset")
    shell(None, "nft", sabotage)
    deadline = time.monotonic() + 5
    while before not in shell(None, "nft", "list", "ruleset"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with serve(netns, 80, address="::"):
        assert ask(rig.wire.peer, rig.wire.host_address6, 8080)


def test_hosts_without_ipv6_networks_have_no_ipv6_table(rig: Rig) -> None:
    assert "ip6" not in shell(None, "nft", "list", "tables")
    network = rig.network("dual", ipv6=True)
    assert "table ip6 barque" in shell(None, "nft", "list", "tables")
    rig.driver.network_restore((rig.bridge, network), ())
    rig.driver.network_remove(network)
    assert shell(None, "nft", "list", "tables") == "table ip barque\n"
    network = rig.network("again", ipv6=True)
    rig.driver.network_restore((rig.bridge,), ())
    assert shell(None, "nft", "list", "tables") == "table ip barque\n"


@pytest.mark.row("S40")
def test_router_advertisements_of_containers_are_ignored(rig: Rig, dual: NetworkSpec) -> None:
    _, liar = rig.container(network=dual)
    _, victim = rig.container(network=dual)
    _, plain = rig.container()
    prefix = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 3600, 3600, 0, IPv6Address("2001:db8:bad::").packed)
    advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix
    for netns, source in ((liar, link_local(liar)), (plain, "fe80::bad")):
        forge_icmp6(netns, "eth0", "33:33:00:00:00:01", source, "ff02::1", advertisement)
    time.sleep(0.2)
    for netns in (None, victim):
        shown = shell(netns, "ip", "-6", "address") + shell(netns, "ip", "-6", "route")
        assert "2001:db8:bad" not in shown
        assert "proto ra" not in shown
    assert "inet6" not in shell(None, "ip", "address", "show", "barque0")


def link_local(netns: int) -> str:
    shown = shell(netns, "ip", "-6", "-o", "address", "show", "eth0", "scope", "link")
    return shown.split("inet6 ")[1].split("/")[0]


def test_forwarding_keeps_the_hosts_own_way_out(rig: Rig) -> None:
    conf = Path("/proc/sys/net/ipv6/conf")
    assert (conf / "all/forwarding").read_text().strip() == "0"
    (conf / "lan0/accept_ra").write_text("1")
    rig.network("inner", internal=True, ipv6=True)
    assert (conf / "all/forwarding").read_text().strip() == "0"
    network = rig.network("dual", ipv6=True)
    assert (conf / "all/forwarding").read_text().strip() == "1"
    assert (conf / "lan0/accept_ra").read_text().strip() == "2"
    assert (conf / f"bq-{network.id[:12]}/accept_ra").read_text().strip() == "0"


@pytest.mark.row("S41")
def test_forged_sources_and_neighbours_are_dropped_where_that_is_asked_for() -> None:
    with lan() as wire, ExitStack() as cleanup:
        rig = Rig(wire, cleanup, BridgeConfig(antispoof=True))
        network = rig.network("dual", ipv6=True, subnets=BOTH)
        victim, victim_ns = rig.container(network=network)
        liar, liar_ns = rig.container(network=network)
        other, other_ns = rig.container(network=network)
        with serve(victim_ns, 80, address="::"):
            assert ask(liar_ns, address6(victim), 80) == address6(liar)  # honest traffic passes
        listener = listen_udp(rig, victim_ns, "::", 7000)
        for source, arrives in ((address6(liar), True), (address6(other), False), ("2001:db8::1", False)):
            forge_udp(liar_ns, "eth0", victim.mac, source, address6(victim), 7000)
            assert received(listener, 3 if arrives else 0.2) == arrives, source
        with serve(other_ns, 80, address="::"):
            assert ask(victim_ns, address6(other), 80) == address6(victim)
            forge_icmp6(liar_ns, "eth0", victim.mac, address6(liar), address6(victim), advert(other, liar))
            assert other.mac in shell(victim_ns, "ip", "-6", "neighbour", "show", address6(other))
        rig.driver.network_detach(liar, None)
        deadline = time.monotonic() + 5
        while liar.host_interface in shell(None, "nft", "list", "table", "bridge", "barque"):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def advert(claimed: Endpoint, liar: Endpoint) -> bytes:
    """A neighbour advertisement that says the address of `claimed` is at the hardware address of `liar`."""
    target = IPv6Address(address6(claimed)).packed
    link = bytes.fromhex(liar.mac.replace(":", ""))
    return struct.pack("!BBHI16sBB6s", 136, 0, 0, 0x20000000, target, 2, 1, link)


def test_a_lying_neighbour_is_believed_without_that(rig: Rig, dual: NetworkSpec) -> None:
    """The forgery of the test before works as such."""
    (victim, victim_ns), (liar, liar_ns), (other, other_ns) = (rig.container(network=dual) for _ in range(3))
    with serve(other_ns, 80, address="::"):
        assert ask(victim_ns, address6(other), 80)
    forge_icmp6(liar_ns, "eth0", victim.mac, address6(liar), address6(victim), advert(other, liar))
    assert liar.mac in shell(victim_ns, "ip", "-6", "neighbour", "show", address6(other))


def test_udp_client_that_never_pauses_follows_the_published_port(rig: Rig, dual: NetworkSpec) -> None:
    client = inside(rig.wire.peer, lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    rig.cleanup.enter_context(client)
    client.settimeout(2)
    port = (rig.wire.host_address6, 5353)
    client.sendto(b"before there is a port", port)
    for _ in range(2):
        endpoint, netns = rig.container(PortBinding(53, "udp", host_port=5353), network=dual)
        with serve(netns, 53, "udp", "::"):
            client.sendto(b"?", port)
            assert client.recv(100) == rig.wire.peer_address6.encode()
        rig.driver.network_detach(endpoint, None)


def test_container_without_ipv4(rig: Rig) -> None:
    network = rig.network("six", ipv4=False, ipv6=True, subnets=BOTH[1:])
    endpoint, netns = rig.container(PortBinding(80, host_port=8080), network=network)
    assert (endpoint.mac, endpoint.ipv4, len(endpoint.ports)) == ("02:42:00:00:00:02", "", 1)
    with serve(netns, 80, address="::"):
        assert ask(rig.wire.peer, rig.wire.host_address6, 8080) == rig.wire.peer_address6
    with pytest.raises(InvalidArgument, match="the container has no IPv4 address"):
        rig.container(PortBinding(80, host_ip="0.0.0.0"), network=network)
