"""The part of the network kit about published ports."""

from __future__ import annotations

import socket
from ipaddress import IPv4Network
from typing import Any

import pytest

from barque.spi.errors import BarqueError, Conflict, InvalidArgument
from barque.spi.network import NetworkCapability, NetworkSpec, PortBinding
from barque.testing.lan import ask, serve, unreachable
from barque.testing.network_lab import NetworkLab

__all__ = ["NetworkPorts"]


class NetworkPorts:
    """Tests for drivers that declare PORTS. The fixtures are those of `NetworkConformance`."""

    @pytest.mark.needs(NetworkCapability.PORTS)
    @pytest.mark.parametrize("protocol", ["tcp", "udp"])
    def test_published_port(self, lab: NetworkLab, bridged: NetworkSpec, protocol: str) -> None:
        attached = lab.attach(bridged, ports=(PortBinding(80, protocol, host_port=8080),))
        (port,) = attached.endpoint.ports
        assert (port.container_port, port.protocol, port.host_port) == (80, protocol, 8080)
        with serve(attached.netns, 80, protocol):
            for client, address in ((lab.wire.peer, lab.wire.host_address), (None, "127.0.0.1")):
                assert ask(client, address, 8080, protocol)
            lab.detach(attached)
            assert unreachable(lab.wire.peer, lab.wire.host_address, 8080, protocol)

    @pytest.mark.needs(NetworkCapability.PORTS)
    @pytest.mark.row("S37")
    def test_port_for_this_host_only(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        attached = lab.attach(bridged, ports=(PortBinding(80, host_ip="127.0.0.1", host_port=8080),))
        subnet = bridged.subnets[0].cidr
        lab.run(lab.wire.peer, "ip", "route", "add", subnet, "via", lab.wire.host_address)
        with serve(attached.netns, 80), serve(attached.netns, 81):
            assert ask(None, "127.0.0.1", 8080)
            assert unreachable(lab.wire.peer, lab.wire.host_address, 8080)
            assert unreachable(lab.wire.peer, attached.address, 80)
            assert unreachable(lab.wire.peer, attached.address, 81)

    @pytest.mark.needs(NetworkCapability.PORTS)
    def test_port_is_chosen_when_none_is_named(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        ports = (PortBinding(80), PortBinding(81), PortBinding(53, "udp"))
        chosen = lab.attach(bridged, ports=ports).endpoint.ports
        assert [port.container_port for port in chosen] == [80, 81, 53]
        assert len({port.host_port for port in chosen if port.protocol == "tcp"}) == 2
        assert all(port.host_port >= 1024 for port in chosen)

    @pytest.mark.needs(NetworkCapability.PORTS)
    def test_port_that_is_taken(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        taken = lab.attach(bridged, ports=(PortBinding(80, host_port=8080),))
        before = lab.settled_links()
        wanted = (PortBinding(81, host_port=8081), PortBinding(80, host_port=8080))
        with pytest.raises(Conflict, match=r"Bind for 0\.0\.0\.0:8080 failed: port is already allocated"):
            lab.attach(bridged, ports=wanted)
        assert lab.links_soon(before) == before
        lab.detach(taken)
        assert lab.attach(bridged, ports=wanted).endpoint.ports

    @pytest.mark.needs(NetworkCapability.PORTS)
    def test_port_and_address_are_free_after_an_attach_that_failed(
        self, lab: NetworkLab, bridged: NetworkSpec
    ) -> None:
        subnet = IPv4Network(bridged.subnets[0].cidr)
        wanted: dict[str, Any] = {"ipv4": str(subnet[99]), "ports": (PortBinding(80, host_port=8080),)}
        with socket.socket() as no_namespace, pytest.raises(BarqueError):
            lab.attach(bridged, no_namespace.fileno(), **wanted)
        assert lab.attach(bridged, **wanted).endpoint.ports

    @pytest.mark.needs(NetworkCapability.PORTS)
    def test_port_that_a_program_of_the_host_has(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        with serve(None, 8080, address="127.0.0.1"), pytest.raises(Conflict, match="address already in use"):
            lab.attach(bridged, ports=(PortBinding(80, host_port=8080),))

    @pytest.mark.needs(NetworkCapability.PORTS)
    @pytest.mark.parametrize(
        "port",
        [PortBinding(0), PortBinding(65536), PortBinding(80, host_port=-1), PortBinding(80, host_port=65536),
         PortBinding(80, "icmp"), PortBinding(80, host_ip="x"), PortBinding(80, host_ip="1.2.3.4 }")],
    )  # fmt: skip
    def test_malformed_port_is_refused(
        self, lab: NetworkLab, bridged: NetworkSpec, port: PortBinding
    ) -> None:
        with pytest.raises(InvalidArgument):
            lab.attach(bridged, ports=(port,))
