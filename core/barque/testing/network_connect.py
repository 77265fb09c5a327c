"""The part of the network kit about containers whose networks change while they run."""

from __future__ import annotations

import pytest

from barque.spi.errors import BarqueError, Conflict
from barque.spi.network import NetworkCapability, NetworkSpec, PortBinding
from barque.testing.lan import ask, serve, unreachable
from barque.testing.network_lab import Attached, NetworkLab

__all__ = ["NetworkConnect"]


class NetworkConnect:
    """Tests for drivers that declare CONNECT. The fixtures are those of `NetworkConformance`."""

    @pytest.mark.needs(NetworkCapability.CONNECT)
    def test_live_container_leaves_a_network(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        first, second = _two(lab, bridged)
        lab.detach(second, live=True)
        assert lab.links(first.netns) == {"lo", first.endpoint.interface}
        assert _default(lab, first) == first.endpoint.gateway4
        again = lab.attach(
            lab.network("other"), first.netns, interface="eth1", ipv4=second.address, default_route=False
        )
        assert again.address == second.address
        for _ in range(2):
            lab.detach(first, live=True)
        assert lab.links(first.netns) == {"lo", "eth1"}
        lab.detach(again, live=True)
        assert lab.links(first.netns) == {"lo"}

    @pytest.mark.needs(NetworkCapability.CONNECT)
    def test_default_route_moves(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        first, second = _two(lab, bridged)
        for _ in range(2):
            first = lab.update(first, default_route=False)
            second = lab.update(second, default_route=True)
            assert _default(lab, first) == second.endpoint.gateway4
        assert (first.endpoint.default_route, second.endpoint.default_route) == (False, True)
        first = lab.update(first, default_route=True)
        second = lab.update(second, default_route=False)  # not the first's, although that came in between
        assert _default(lab, first) == first.endpoint.gateway4

    @pytest.mark.needs(NetworkCapability.CONNECT)
    def test_networks_may_come_in_any_order(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        first = lab.attach(bridged, default_route=False)
        assert _default(lab, first) == ""
        second = lab.attach(lab.network("other"), first.netns, interface="eth1", default_route=True)
        assert _default(lab, first) == second.endpoint.gateway4

    @pytest.mark.needs(NetworkCapability.CONNECT)
    def test_interface_name_that_is_taken(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        first = lab.attach(bridged)
        before = lab.settled_links()
        with pytest.raises(BarqueError):
            lab.attach(lab.network("other"), first.netns, interface=first.endpoint.interface)
        assert len(lab.settled_links() - before) <= 1  # the other network's own
        assert lab.links(first.netns) == {"lo", first.endpoint.interface}

    @pytest.mark.needs(NetworkCapability.CONNECT)
    def test_update_in_a_sandbox_that_lacks_the_interface_changes_nothing(
        self, lab: NetworkLab, bridged: NetworkSpec
    ) -> None:
        attached = lab.attach(bridged)
        with pytest.raises(BarqueError):
            lab.driver.network_update(
                attached.endpoint, lab.sandbox(), False, (PortBinding(80, host_port=8080),)
            )
        with serve(attached.netns, 80):
            assert unreachable(lab.wire.peer, lab.wire.host_address, 8080)
        assert lab.attach(bridged, ports=(PortBinding(80, host_port=8080),)).endpoint

    @pytest.mark.needs(NetworkCapability.CONNECT, NetworkCapability.PORTS)
    def test_published_ports_move(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        ports = (PortBinding(80, host_port=8080), PortBinding(81))
        first, second = _two(lab, bridged, ports)
        chosen = first.endpoint.ports
        with serve(first.netns, 80), serve(first.netns, 81):
            for _ in range(2):
                same = lab.update(first, default_route=True, ports=ports)
                assert same.endpoint.ports == chosen  # nothing moves that need not
                first = lab.update(first, default_route=False)
                second = lab.update(second, default_route=True, ports=chosen)
                assert (first.endpoint.ports, second.endpoint.ports) == ((), chosen)
                for port in chosen:
                    assert ask(lab.wire.peer, lab.wire.host_address, port.host_port) == lab.wire.peer_address
                second = lab.update(second, default_route=False)
                first = lab.update(first, default_route=True, ports=chosen)
                assert ask(lab.wire.peer, lab.wire.host_address, 8080) == lab.wire.peer_address

    @pytest.mark.needs(NetworkCapability.CONNECT, NetworkCapability.PORTS)
    def test_update_to_a_port_that_is_taken_changes_nothing(
        self, lab: NetworkLab, bridged: NetworkSpec
    ) -> None:
        other = lab.attach(bridged, ports=(PortBinding(80, host_port=8081),))
        first, second = _two(lab, bridged, (PortBinding(80, host_port=8080),))
        with pytest.raises(Conflict, match="port is already allocated"):
            lab.update(
                second, default_route=True, ports=(PortBinding(80, host_port=8082), *other.endpoint.ports)
            )
        assert _default(lab, first) == first.endpoint.gateway4
        with serve(first.netns, 80):
            assert ask(lab.wire.peer, lab.wire.host_address, 8080)
            assert unreachable(lab.wire.peer, lab.wire.host_address, 8082)
        assert lab.update(
            second, default_route=False, ports=(PortBinding(80, host_port=8082),)
        ).endpoint.ports


def _two(
    lab: NetworkLab, network: NetworkSpec, ports: tuple[PortBinding, ...] = ()
) -> tuple[Attached, Attached]:
    """A container in two networks, with its default route through the first."""
    first = lab.attach(network, ports=ports)
    second = lab.attach(lab.network("other"), first.netns, interface="eth1", default_route=False)
    assert lab.links(first.netns) == {"lo", first.endpoint.interface, "eth1"}
    return first, second


def _default(lab: NetworkLab, attached: Attached) -> str:
    """The gateway of the container's default route, empty when it has none."""
    words = lab.run(attached.netns, "ip", "-4", "route", "show", "default").split()
    assert words.count("default") <= 1
    return words[words.index("via") + 1] if "via" in words else ""
