"""The part of the network kit about IPv6."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Interface, IPv6Network

import pytest

from barque.spi.errors import Conflict, InvalidArgument
from barque.spi.network import NetworkCapability, NetworkSpec, PortBinding, Subnet
from barque.testing.lan import ask, serve, unreachable
from barque.testing.network_lab import Attached, NetworkLab

__all__ = ["NetworkIpv6"]


class NetworkIpv6:
    """Tests for drivers that declare IPV6. The fixtures are those of `NetworkConformance`."""

    @pytest.mark.needs(NetworkCapability.IPV6)
    def test_dual_stack_network(self, lab: NetworkLab) -> None:
        network = lab.network("dual", ipv6=True)
        assert lab.driver.network_create(network) == network
        six = network.subnets[1]
        attached = lab.attach(network)
        endpoint = attached.endpoint
        assert IPv6Interface(endpoint.ipv6).network == IPv6Network(six.cidr)
        assert IPv6Address(six.gateway) in IPv6Network(six.cidr)
        shown = lab.run(attached.netns, "ip", "address", "show", endpoint.interface)
        assert f"inet6 {endpoint.ipv6} " in shown
        assert f"inet {endpoint.ipv4} " in shown
        assert "tentative" not in shown
        if endpoint.gateway6:
            assert f"default via {endpoint.gateway6} " in lab.run(attached.netns, "ip", "-6", "route")

    @pytest.mark.needs(NetworkCapability.IPV6)
    def test_network_without_ipv4(self, lab: NetworkLab) -> None:
        network = lab.network("six", ipv4=False, ipv6=True)
        assert [IPv6Network(subnet.cidr).version for subnet in network.subnets] == [6]
        one, two = lab.attach(network), lab.attach(network)
        assert one.endpoint.ipv4 == one.endpoint.gateway4 == ""
        assert "inet " not in lab.run(one.netns, "ip", "address", "show", one.endpoint.interface)
        with serve(one.netns, 80, address="::"):
            assert ask(two.netns, one.address6, 80) == two.address6

    @pytest.mark.needs(NetworkCapability.IPV6)
    def test_ipv6_address_that_is_asked_for(self, lab: NetworkLab) -> None:
        network = lab.network("dual", ipv6=True, subnets=(Subnet("2001:db8:9::/64", "2001:db8:9::fe"),))
        attached = lab.attach(network, ipv6="2001:db8:9::99")
        assert attached.endpoint.ipv6 == "2001:db8:9::99/64"
        for taken in ("2001:db8:9::99", "2001:db8:9::fe"):
            with pytest.raises(Conflict, match="Address already in use"):
                lab.attach(network, ipv6=taken)
        for wrong in ("2001:db8:10::1", "2001:db8:9::", "10.0.0.1", "x"):
            with pytest.raises(InvalidArgument):
                lab.attach(network, ipv6=wrong)
        with pytest.raises(InvalidArgument):
            lab.attach(lab.network("four"), ipv6="2001:db8:9::5")
        lab.detach(attached)
        assert lab.attach(network, ipv6="2001:db8:9::99").address6 == attached.address6

    @pytest.mark.needs(NetworkCapability.IPV6)
    @pytest.mark.row("S40")
    def test_no_router_is_believed(self, lab: NetworkLab) -> None:
        attached = lab.attach(lab.network("dual", ipv6=True))
        path = f"/proc/sys/net/ipv6/conf/{attached.endpoint.interface}/accept_ra"
        assert lab.run(attached.netns, "cat", path).strip() == "0"

    @pytest.mark.needs(NetworkCapability.IPV6, NetworkCapability.CONNECT)
    def test_default_route_of_both_families_moves(self, lab: NetworkLab) -> None:
        first = lab.attach(lab.network("dual", ipv6=True))
        other = lab.network("other", ipv6=True)
        second = lab.attach(other, first.netns, interface="eth1", default_route=False)
        for family, gateway in (("-4", "gateway4"), ("-6", "gateway6")):
            assert _defaults(lab, first, family) == [getattr(first.endpoint, gateway)]
        second = lab.update(second, default_route=True)
        lab.update(first, default_route=False)
        for family, gateway in (("-4", "gateway4"), ("-6", "gateway6")):
            assert _defaults(lab, first, family) == [getattr(second.endpoint, gateway)]
        lab.detach(second, live=True)
        assert _defaults(lab, first, "-6") == []

    @pytest.mark.needs(NetworkCapability.IPV6, NetworkCapability.PORTS)
    @pytest.mark.parametrize("protocol", ["tcp", "udp"])
    def test_published_port_of_both_families(self, lab: NetworkLab, protocol: str) -> None:
        attached = lab.attach(lab.network("dual", ipv6=True), ports=(PortBinding(80, protocol),))
        hosts = {port.host_ip: port.host_port for port in attached.endpoint.ports}
        assert hosts.keys() == {"0.0.0.0", "::"}
        (number,) = set(hosts.values())
        wire = lab.wire
        with serve(attached.netns, 80, protocol):
            assert ask(wire.peer, wire.host_address, number, protocol) == wire.peer_address
        with serve(attached.netns, 80, protocol, "::"):
            assert ask(wire.peer, wire.host_address6, number, protocol) == wire.peer_address6
            lab.detach(attached)
            assert unreachable(wire.peer, wire.host_address6, number, protocol)

    @pytest.mark.needs(NetworkCapability.IPV6, NetworkCapability.PORTS)
    @pytest.mark.row("S37")
    def test_ipv6_port_that_is_not_published_there(self, lab: NetworkLab) -> None:
        network = lab.network("dual", ipv6=True)
        attached = lab.attach(network, ports=(PortBinding(80, host_ip="::1", host_port=8080),))
        cidr = network.subnets[1].cidr
        lab.run(lab.wire.peer, "ip", "-6", "route", "add", cidr, "via", lab.wire.host_address6)
        with serve(attached.netns, 80, address="::"), serve(attached.netns, 81, address="::"):
            assert unreachable(lab.wire.peer, lab.wire.host_address6, 8080)
            assert unreachable(lab.wire.peer, attached.address6, 80)
            assert unreachable(lab.wire.peer, attached.address6, 81)
            assert ask(None, attached.address6, 81)

    @pytest.mark.needs(NetworkCapability.IPV6)
    @pytest.mark.row("R3")
    def test_ipv6_survives_a_crash(self, lab: NetworkLab) -> None:
        (network,), (one, two) = lab.crash(["dual"], 2, ipv6=True)
        assert lab.driver.network_create(network) == network
        lab.driver.network_restore((network,), (one.endpoint, two.endpoint))
        with serve(one.netns, 80, address="::"):
            assert ask(two.netns, one.address6, 80) == two.address6
        with pytest.raises(Conflict):
            lab.attach(network, ipv6=one.address6)
        assert _fresh(lab, network) not in (one.address6, two.address6)


def _defaults(lab: NetworkLab, attached: Attached, family: str) -> list[str]:
    """The gateways of the container's default routes."""
    words = lab.run(attached.netns, "ip", family, "route", "show", "default").split()
    return [words[number + 1] for number, word in enumerate(words) if word == "via"]


def _fresh(lab: NetworkLab, network: NetworkSpec) -> str:
    return lab.attach(network).address6
