"""The part of the network kit about networks that users make."""

from __future__ import annotations

import pytest

from barque.spi.errors import Conflict, InvalidArgument
from barque.spi.network import NetworkCapability, Subnet
from barque.testing.lan import ask, serve, unreachable
from barque.testing.network_lab import NetworkLab

__all__ = ["NetworkCreate"]


class NetworkCreate:
    """Tests for drivers that declare CREATE. The fixtures are those of `NetworkConformance`."""

    @pytest.mark.needs(NetworkCapability.CREATE)
    def test_addresses_come_from_the_range(self, lab: NetworkLab) -> None:
        wanted = Subnet("10.201.0.0/16", "10.201.0.1", "10.201.7.0/30", {"printer": "10.201.7.1"})
        network = lab.network("ranged", subnets=(wanted,))
        assert network.subnets == (wanted,)
        got = {lab.attach(network).address for _ in range(3)}
        assert got == {f"10.201.7.{number}" for number in (0, 2, 3)}
        assert lab.attach(network, ipv4="10.201.9.9").address == "10.201.9.9"
        with pytest.raises(Conflict, match="Address already in use"):
            lab.attach(network, ipv4="10.201.7.1")

    @pytest.mark.needs(NetworkCapability.CREATE)
    def test_refusals_are_in_dockers_words(self, lab: NetworkLab) -> None:
        network = lab.network("one", subnets=(Subnet("10.202.0.0/24"),))
        overlap = "invalid pool request: Pool overlaps with other one on this address space"
        with pytest.raises(Conflict, match=overlap):
            lab.network("two", subnets=(Subnet("10.202.0.128/25"),))
        with pytest.raises(
            InvalidArgument, match=r"no configured subnet or ip-range contain the IP address 10\.9\.9\.9"
        ):
            lab.attach(network, ipv4="10.9.9.9")
        with pytest.raises(Conflict, match="Address already in use"):
            lab.attach(network, ipv4="10.202.0.1")

    @pytest.mark.needs(NetworkCapability.CREATE)
    def test_subnet_is_free_again_after_a_removal(self, lab: NetworkLab) -> None:
        for name in ("one", "two"):
            network = lab.network(name, subnets=(Subnet("10.203.0.0/24"),))
            lab.detach(lab.attach(network))
            lab.driver.network_remove(network)

    @pytest.mark.needs(NetworkCapability.CREATE)
    @pytest.mark.row("S39")
    def test_internal_network(self, lab: NetworkLab) -> None:
        network = lab.network("inner", internal=True)
        one, two = lab.attach(network), lab.attach(network)
        assert "default" not in lab.run(one.netns, "ip", "route")
        with serve(one.netns, 80), serve(lab.wire.peer, 53, "udp"):
            assert ask(two.netns, one.address, 80) == two.address
            assert unreachable(one.netns, lab.wire.peer_address, 53, "udp")
