"""The conformance kit of kind `network`: subclass, give one fixture, and your driver is proven.

    class TestMyNetwork(NetworkConformance):
        @pytest.fixture
        def factory(self):
            return lambda: MyNetwork("mine", MyNetwork.Config())

Root and iproute2 are needed. Each test has a fresh host of its own, a network namespace with a LAN peer
(`barque.testing.lan`), and is followed by a census of that host's interfaces and of this process's descriptors.
A driver may be made, closed and made again in one process.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from barque.spi.errors import AlreadyExists, BarqueError, Conflict, InvalidArgument, NotFound
from barque.spi.network import NetworkCapability, NetworkSpec, Subnet
from barque.testing import need
from barque.testing.kit import Conformance
from barque.testing.lan import ask, lan, serve, unreachable
from barque.testing.network_connect import NetworkConnect
from barque.testing.network_create import NetworkCreate
from barque.testing.network_ipv6 import NetworkIpv6
from barque.testing.network_lab import HOST_LINKS, NetworkLab
from barque.testing.network_ports import NetworkPorts
from barque.testing.network_restart import NetworkRestart

__all__ = ["NetworkConformance"]

_LOOPBACK_UP = "LOOPBACK,UP"


def _descriptors() -> set[str]:
    return {name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}


class NetworkConformance(
    NetworkPorts, NetworkRestart, NetworkConnect, NetworkCreate, NetworkIpv6, Conformance
):
    """What every network driver must do. See the contract, `barque.spi.network`."""

    @pytest.fixture
    def factory(self) -> Callable[[], Any]:
        """Makes an instance of the driver under test, all of them for the same host."""
        raise NotImplementedError("a subclass of NetworkConformance provides the fixture `factory`")

    @pytest.fixture
    def lab(self, request: pytest.FixtureRequest, factory: Callable[[], Any]) -> Iterator[NetworkLab]:
        """The bench; see `NetworkLab`."""
        need.tool("ip")
        needed = request.node.get_closest_marker("needs")
        with lan() as wire:
            before = _descriptors()
            lab = NetworkLab(wire, factory)
            if needed and not set(needed.args) <= lab.capabilities:
                pytest.skip(f"the driver does not declare {', '.join(needed.args)}")
            try:
                yield lab
            finally:
                lab.close()
            assert lab.links_soon(HOST_LINKS) == HOST_LINKS
            assert _descriptors() == before

    @pytest.fixture
    def bridged(self, lab: NetworkLab) -> NetworkSpec:
        """A network with addresses; drivers whose networks have none skip."""
        network = lab.network()
        if not network.subnets:
            pytest.skip("the driver's networks have no subnets")
        return network

    # Networks

    def test_probe_finds_this_host_usable(self, lab: NetworkLab) -> None:
        probe = lab.driver.network_probe()
        assert probe.usable, probe.problems

    def test_create_is_idempotent(self, lab: NetworkLab) -> None:
        network = lab.network()
        assert lab.driver.network_create(network) == network
        before = lab.links()
        assert lab.driver.network_create(network) == network
        assert lab.links() == before

    def test_networks_get_subnets_that_do_not_overlap(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        networks = [bridged, *(lab.network(f"n{number}") for number in range(10))]
        subnets = [IPv4Network(network.subnets[0].cidr) for network in networks]
        for number, subnet in enumerate(subnets):
            assert IPv4Address(networks[number].subnets[0].gateway) in subnet
            assert not any(subnet.overlaps(other) for other in subnets[:number])
            assert not subnet.overlaps(IPv4Network(f"{lab.wire.host_address}/24", strict=False))

    @pytest.mark.usefixtures("bridged")
    def test_subnet_and_gateway_that_are_given_are_kept(self, lab: NetworkLab) -> None:
        wanted = (Subnet("10.200.1.0/24", "10.200.1.254"),)
        network = lab.network("mine", subnets=wanted)
        assert network.subnets == wanted
        assert lab.attach(network).endpoint.gateway4 == "10.200.1.254"

    def test_overlapping_subnet_is_a_conflict(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        before = lab.links()
        with pytest.raises(Conflict):
            lab.network("other", subnets=(Subnet(bridged.subnets[0].cidr),))
        assert lab.links() == before

    @pytest.mark.parametrize("cidr", [" ", "10.0.0.1/24", "10.0.0.0/33", "10.0.0.0/32", "x", "10.0.0.0/24\n"])
    @pytest.mark.usefixtures("bridged")
    def test_malformed_subnet_is_refused(self, lab: NetworkLab, cidr: str) -> None:
        with pytest.raises(InvalidArgument):
            lab.network("other", subnets=(Subnet(cidr),))

    @pytest.mark.usefixtures("bridged")
    def test_gateway_outside_its_subnet_is_refused(self, lab: NetworkLab) -> None:
        with pytest.raises(InvalidArgument):
            lab.network("other", subnets=(Subnet("10.0.0.0/24", "10.0.1.1"),))

    def test_remove_twice_and_unknown(self, lab: NetworkLab) -> None:
        network = lab.network()
        for _ in range(2):
            lab.driver.network_remove(network)
        lab.driver.network_remove(NetworkSpec("f" * 64, "never-there"))
        assert lab.links_soon(HOST_LINKS) == HOST_LINKS

    def test_close_twice(self, lab: NetworkLab) -> None:
        lab.network()
        for _ in range(2):
            lab.driver.network_close()
        lab.driver = lab.factory()

    # Endpoints

    def test_attach_to_a_given_sandbox(self, lab: NetworkLab) -> None:
        netns = lab.sandbox()
        attached = lab.attach(lab.network(), netns)
        assert attached.netns == netns
        endpoint = attached.endpoint
        if NetworkCapability.HOST_NAMESPACE in lab.capabilities:
            return
        assert _LOOPBACK_UP in lab.run(netns, "ip", "link", "show", "lo")
        if endpoint.interface:
            shown = lab.run(netns, "ip", "address", "show", endpoint.interface)
            assert f"inet {endpoint.ipv4} " in shown
            assert endpoint.mac in shown
            assert ",UP" in shown
            assert f"default via {endpoint.gateway4}" in lab.run(netns, "ip", "route")

    @pytest.mark.needs(NetworkCapability.OWN_SANDBOX)
    def test_attach_in_a_sandbox_of_the_drivers_own(self, lab: NetworkLab) -> None:
        network = lab.network()
        for _ in range(3):  # made for the request, then perhaps prepared
            attached = lab.attach(network)
            assert attached.netns is not None
            assert not os.get_inheritable(attached.netns)
            assert lab.links(attached.netns) == {"lo", attached.endpoint.interface}
            assert _LOOPBACK_UP in lab.run(attached.netns, "ip", "link", "show", "lo")
            shown = lab.run(attached.netns, "ip", "address", "show", attached.endpoint.interface)
            assert f"inet {attached.endpoint.ipv4} " in shown

    @pytest.mark.needs(NetworkCapability.HOST_NAMESPACE)
    def test_host_namespace_is_left_as_it_is(self, lab: NetworkLab) -> None:
        attached = lab.attach(lab.network())
        assert attached.netns is None
        assert lab.links() == HOST_LINKS

    @pytest.mark.row("S40")
    def test_an_interface_without_ipv6_has_it_disabled(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        attached = lab.attach(bridged)
        path = f"/proc/sys/net/ipv6/conf/{attached.endpoint.interface}/disable_ipv6"
        assert lab.run(attached.netns, "cat", path).strip() == "1"

    def test_two_networks_in_one_sandbox(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        first = lab.attach(bridged)
        second = lab.attach(lab.network("other"), first.netns, interface="eth1", default_route=False)
        assert lab.links(first.netns) == {"lo", first.endpoint.interface, "eth1"}
        routes = lab.run(first.netns, "ip", "route", "show", "default")
        assert routes.count("default") == 1
        assert first.endpoint.gateway4 in routes
        lab.detach(second, live=NetworkCapability.CONNECT in lab.capabilities)
        remaining = {"lo", first.endpoint.interface}
        assert lab.links_soon(remaining, first.netns) == remaining

    def test_address_and_mac_that_are_asked_for(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        subnet = IPv4Network(bridged.subnets[0].cidr)
        wanted = str(subnet[99])
        attached = lab.attach(bridged, ipv4=wanted, mac="02:00:00:00:00:99")
        assert attached.endpoint.ipv4 == f"{wanted}/{subnet.prefixlen}"
        assert attached.endpoint.mac == "02:00:00:00:00:99"
        assert wanted in lab.run(attached.netns, "ip", "address")
        with pytest.raises(Conflict):
            lab.attach(bridged, ipv4=wanted)
        with pytest.raises(Conflict):
            lab.attach(bridged, ipv4=bridged.subnets[0].gateway)
        lab.detach(attached)
        assert lab.attach(bridged, ipv4=wanted).endpoint.ipv4 == attached.endpoint.ipv4

    @pytest.mark.parametrize(
        "fields",
        [{"ipv4": "203.0.113.9"}, {"ipv4": "x"}, {"mac": "x"}, {"interface": "a/b"}, {"interface": ""}, {"interface": ".."}],
        ids=str,
    )  # fmt: skip
    def test_malformed_endpoint_is_refused(
        self, lab: NetworkLab, bridged: NetworkSpec, fields: dict[str, Any]
    ) -> None:
        before = lab.links()
        with pytest.raises(InvalidArgument):
            lab.attach(bridged, **fields)
        assert lab.links_soon(before) == before

    def test_sandbox_that_is_none_is_refused_and_nothing_is_left(
        self, lab: NetworkLab, bridged: NetworkSpec
    ) -> None:
        before = lab.links()
        with socket.socket() as other, pytest.raises(BarqueError):
            lab.attach(bridged, other.fileno())
        assert lab.links_soon(before) == before

    def test_endpoint_id_twice(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        spec = lab.spec(bridged)
        lab.attach_spec(spec)
        with pytest.raises((AlreadyExists, Conflict)):
            lab.attach_spec(spec)

    def test_network_that_is_unknown(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        with pytest.raises(NotFound):
            lab.attach(NetworkSpec("f" * 64, "never-there", bridged.subnets))

    def test_many_at_once_get_addresses_of_their_own(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        specs = [lab.spec(bridged) for _ in range(24)]
        with ThreadPoolExecutor(8) as pool:
            attached = list(pool.map(lab.attach_spec, specs))
        assert len({one.endpoint.ipv4 for one in attached}) == len(specs)
        assert len({one.endpoint.mac for one in attached}) == len(specs)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lab.detach, attached))

    def test_detach_twice_and_when_the_address_has_another_owner(
        self, lab: NetworkLab, bridged: NetworkSpec
    ) -> None:
        first = lab.attach(bridged, ipv4=str(IPv4Network(bridged.subnets[0].cidr)[77]))
        for _ in range(2):
            lab.detach(first)
        second = lab.attach(bridged, ipv4=first.address)
        lab.detach(first)
        with pytest.raises(Conflict):
            lab.attach(bridged, ipv4=second.address)

    def test_released_address_is_not_at_once_anothers(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        first = lab.attach(bridged)
        lab.detach(first)
        assert lab.attach(bridged).endpoint.ipv4 != first.endpoint.ipv4

    @pytest.mark.usefixtures("bridged")
    def test_addresses_do_not_run_out_by_use(self, lab: NetworkLab) -> None:
        small = lab.network("small", subnets=(Subnet("10.200.2.0/28"),))
        for _ in range(20):
            lab.detach(lab.attach(small))
        every = [lab.attach(small) for _ in range(13)]
        assert len({one.address for one in every}) == 13
        with pytest.raises(BarqueError):
            lab.attach(small)
        lab.detach(every[0])
        assert lab.attach(small).address == every[0].address

    def test_neighbours_and_the_lan(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        one, two = lab.attach(bridged), lab.attach(bridged)
        with serve(one.netns, 80), serve(lab.wire.peer, 80):
            assert ask(two.netns, one.address, 80) == two.address
            assert ask(two.netns, lab.wire.peer_address, 80) == lab.wire.host_address

    @pytest.mark.row("S38")
    def test_networks_are_isolated(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        one, two = lab.attach(bridged), lab.attach(lab.network("other"))
        with serve(one.netns, 80):
            assert unreachable(two.netns, one.address, 80)
