"""The bridge driver and real traffic, in a LAN of namespaces."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from bridge_rig import Rig, address, link_address, listen_udp, received, shell

from barque.spi.network import PortBinding
from barque.testing.lan import ask, forge_udp, inside, lan, serve, unreachable

pytestmark = pytest.mark.root


@pytest.fixture(params=["br_netfilter", "plain"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """With and without bridged frames passing the IP hooks: hosts with Docker or Kubernetes have that."""
    with lan() as wire, ExitStack() as cleanup:
        switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
        if switch.exists():
            switch.write_text("1" if request.param == "br_netfilter" else "0")
        elif request.param == "br_netfilter":
            pytest.skip("the kernel has no br_netfilter")
        yield Rig(wire, cleanup)


def test_container_reaches_the_outside_with_the_hosts_address(rig: Rig) -> None:
    _, netns = rig.container()
    for protocol in ("tcp", "udp"):
        with serve(rig.wire.peer, 7000, protocol):
            shell(netns, "ip", "route", "get", rig.wire.peer_address)
            assert ask(netns, rig.wire.peer_address, 7000, protocol) == rig.wire.host_address


def test_containers_of_a_network_talk_with_their_own_addresses(rig: Rig) -> None:
    one, one_ns = rig.container()
    two, two_ns = rig.container()
    with serve(one_ns, 7000):
        assert ask(two_ns, address(one), 7000) == address(two)
        assert ask(None, address(one), 7000) == rig.bridge.subnets[0].gateway


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_published_port_from_everywhere(rig: Rig, protocol: str) -> None:
    endpoint, netns = rig.container(PortBinding(80, protocol, host_port=8080))
    _, neighbour = rig.container()
    _, stranger = rig.container(network=rig.network("other"))
    gateway = rig.bridge.subnets[0].gateway
    with serve(netns, 80, protocol):
        assert ask(rig.wire.peer, rig.wire.host_address, 8080, protocol) == rig.wire.peer_address
        assert ask(None, rig.wire.host_address, 8080, protocol) == rig.wire.host_address
        assert ask(None, "127.0.0.1", 8080, protocol) == gateway
        assert ask(netns, rig.wire.host_address, 8080, protocol) == gateway  # hairpin
        assert ask(netns, gateway, 8080, protocol) == gateway
        assert ask(neighbour, rig.wire.host_address, 8080, protocol)
        assert ask(stranger, rig.wire.host_address, 8080, protocol)
        rig.driver.network_detach(endpoint, None)
        assert unreachable(rig.wire.peer, rig.wire.host_address, 8080, protocol)


@pytest.mark.row("S37")
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_port_published_on_loopback_is_for_this_host_only(rig: Rig, protocol: str) -> None:
    endpoint, netns = rig.container(PortBinding(80, protocol, host_ip="127.0.0.1", host_port=8080))
    # A peer that does its best: routes to the host's loopback range and to the container's subnet.
    inside(rig.wire.peer, lambda: subprocess.run(["sh", "-c", """
        echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
        ip route del local 127.0.0.0/8 dev lo table local; ip route del local 127.0.0.1 dev lo table local
        ip route add 127.0.0.1 via 198.51.100.1 dev eth0 src 198.51.100.2 table main
        ip route add 172.17.0.0/16 via 198.51.100.1
        """], check=True, capture_output=True))  # fmt: skip
    with serve(netns, 80, protocol):
        assert ask(None, "127.0.0.1", 8080, protocol)
        assert unreachable(rig.wire.peer, "127.0.0.1", 8080, protocol)
        assert unreachable(rig.wire.peer, rig.wire.host_address, 8080, protocol)
        assert unreachable(rig.wire.peer, address(endpoint), 80, protocol)
        assert unreachable(None, rig.wire.host_address, 8080, protocol)


@pytest.mark.row("S37")
def test_unpublished_port_is_unreachable_from_the_lan(rig: Rig) -> None:
    endpoint, netns = rig.container(PortBinding(80, host_port=8080))
    shell(rig.wire.peer, "ip", "route", "add", "172.17.0.0/16", "via", rig.wire.host_address)
    with serve(netns, 80), serve(netns, 81):
        assert ask(rig.wire.peer, rig.wire.host_address, 8080)
        assert unreachable(rig.wire.peer, address(endpoint), 81)
        assert unreachable(rig.wire.peer, address(endpoint), 80)  # published, but not this way
        assert ask(None, address(endpoint), 81)


@pytest.mark.row("S37")
def test_forged_frames_from_the_lan_do_not_reach_ports_published_on_loopback(rig: Rig) -> None:
    _, netns = rig.container(
        PortBinding(80, "udp", host_ip="127.0.0.1", host_port=8080), PortBinding(80, "udp", host_port=8081)
    )
    listener = listen_udp(rig, netns, "0.0.0.0", 80)
    target = link_address(rig.wire.host_interface)
    peer, host = rig.wire.peer_address, rig.wire.host_address
    forge_udp(rig.wire.peer, "eth0", target, peer, host, 8081)
    assert received(listener, 3)  # the forgery as such works
    forge_udp(rig.wire.peer, "eth0", target, peer, "127.0.0.1", 8080)
    assert not received(listener)
    forge_udp(rig.wire.peer, "eth0", target, "127.0.0.1", "127.0.0.1", 8080)
    assert not received(listener)


def test_forged_frames_from_a_container_do_not_reach_the_hosts_loopback(rig: Rig) -> None:
    endpoint, netns = rig.container()
    gateway = rig.bridge.subnets[0].gateway
    private, public = listen_udp(rig, None, "127.0.0.1", 9000), listen_udp(rig, None, "0.0.0.0", 9001)
    target = link_address("barque0")
    forge_udp(netns, "eth0", target, address(endpoint), gateway, 9001)
    assert received(public, 3)
    forge_udp(netns, "eth0", target, address(endpoint), "127.0.0.1", 9000)
    assert not received(private)
    Path("/proc/sys/net/ipv4/conf/barque0/accept_local").write_text(
        "1"
    )  # else the kernel knows better itself
    forge_udp(netns, "eth0", target, "127.0.0.1", gateway, 9001)
    assert not received(public)


@pytest.mark.row("S38")
def test_networks_are_isolated_from_each_other(rig: Rig) -> None:
    one, one_ns = rig.container()
    two, two_ns = rig.container(network=rig.network("other"))
    with serve(one_ns, 80), serve(two_ns, 80):
        assert ask(None, address(one), 80)
        assert unreachable(two_ns, address(one), 80)
        assert unreachable(one_ns, address(two), 80)


@pytest.mark.row("S39")
def test_internal_network_has_no_way_out_and_none_in(rig: Rig) -> None:
    network = rig.network("inner", internal=True)
    one, one_ns = rig.container(PortBinding(80, host_port=8080), network=network)
    _, two_ns = rig.container(network=network)
    assert one.ports == ()
    assert "default" not in shell(one_ns, "ip", "route")
    shell(one_ns, "ip", "route", "add", "default", "via", network.subnets[0].gateway)
    with serve(one_ns, 80), serve(rig.wire.peer, 53, "udp"), serve(rig.wire.peer, 53):
        assert ask(two_ns, address(one), 80)
        assert unreachable(one_ns, rig.wire.peer_address, 53, "udp")
        assert unreachable(one_ns, rig.wire.peer_address, 53)
        assert unreachable(rig.wire.peer, rig.wire.host_address, 8080)


def test_icc_off_keeps_containers_of_a_network_apart(rig: Rig) -> None:
    network = rig.network("apart", options={"com.docker.network.bridge.enable_icc": "false"})
    one, one_ns = rig.container(PortBinding(80, host_port=8080), network=network)
    two, two_ns = rig.container(network=network)
    with serve(one_ns, 80), serve(rig.wire.peer, 80):
        assert unreachable(two_ns, address(one), 80)
        # Round the bridge's port isolation, by way of the host:
        listener = listen_udp(rig, one_ns, "0.0.0.0", 7000)
        target = link_address(f"bq-{network.id[:12]}")
        forge_udp(two_ns, "eth0", target, address(two), address(one), 7000)
        assert not received(listener)
        assert ask(two_ns, rig.wire.peer_address, 80)
        assert ask(rig.wire.peer, rig.wire.host_address, 8080)


@pytest.mark.row("S40")
def test_an_interface_without_ipv6_has_it_disabled(rig: Rig) -> None:
    _, netns = rig.container()
    assert shell(netns, "cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6").strip() == "1"
    assert "inet6" not in shell(netns, "ip", "address", "show", "eth0")
    assert "inet6" not in shell(None, "ip", "address", "show", "barque0")


def test_udp_client_that_never_pauses_follows_the_published_port(rig: Rig) -> None:
    binding = PortBinding(53, "udp", host_port=5353)
    client = inside(rig.wire.peer, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    rig.cleanup.enter_context(client)
    client.settimeout(2)
    port = (rig.wire.host_address, 5353)
    client.sendto(b"before there is a port", port)  # a flow that is translated to nowhere
    for _ in range(2):
        endpoint, netns = rig.container(binding)
        with serve(netns, 53, "udp"):
            client.sendto(b"?", port)
            assert client.recv(100) == rig.wire.peer_address.encode()
        rig.driver.network_detach(endpoint, None)
