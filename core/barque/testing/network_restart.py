"""The part of the network kit about daemons that end, orderly or not, and their successors."""

from __future__ import annotations

import pytest

from barque.spi.errors import AlreadyExists, Conflict
from barque.spi.network import EndpointSpec, NetworkCapability, NetworkSpec, PortBinding
from barque.testing.lan import ask, serve, unreachable
from barque.testing.network_lab import HOST_LINKS, NetworkLab

__all__ = ["NetworkRestart"]


class NetworkRestart:
    """Tests of close and restore. The fixtures are those of `NetworkConformance`."""

    def test_close_leaves_endpoints_alone(self, lab: NetworkLab, bridged: NetworkSpec) -> None:
        one, two = lab.attach(bridged), lab.attach(bridged)
        lab.driver.network_close()
        lab.driver = lab.factory()
        with serve(one.netns, 80):
            assert ask(two.netns, one.address, 80) == two.address
        lab.driver.network_create(bridged)
        lab.driver.network_restore((bridged,), (one.endpoint, two.endpoint))
        with serve(one.netns, 80):
            assert ask(two.netns, one.address, 80) == two.address

    @pytest.mark.row("R3")
    def test_restore_after_a_crash(self, lab: NetworkLab) -> None:
        networks, attached = lab.crash(["bridge", "other"], 3)
        if not networks[0].subnets:
            pytest.skip("the driver's networks have no subnets")
        for network in networks:
            assert lab.driver.network_create(network) == network
        kept, lost = attached[:2], attached[2:]
        lab.driver.network_restore(tuple(networks[:1]), tuple(one.endpoint for one in kept))
        host_ends = {one.endpoint.host_interface for one in kept} - {""}
        assert not {one.endpoint.host_interface for one in lost} & lab.links()
        assert host_ends <= lab.links()
        with serve(kept[0].netns, 80):
            assert ask(kept[1].netns, kept[0].address, 80) == kept[1].address
        fresh = [lab.attach(networks[0]) for _ in range(3)]
        assert not {one.address for one in fresh} & {one.address for one in kept}
        with pytest.raises(Conflict):
            lab.attach(networks[0], ipv4=kept[0].address)
        with pytest.raises((AlreadyExists, Conflict)):
            lab.driver.network_attach(EndpointSpec(kept[0].endpoint.id, networks[0], "c"), None)

    @pytest.mark.needs(NetworkCapability.PORTS)
    @pytest.mark.row("R3")
    def test_ports_survive_a_crash(self, lab: NetworkLab) -> None:
        networks, (one, two) = lab.crash(["bridge"], 2, ports=(PortBinding(80),))
        port, other = one.endpoint.ports[0].host_port, two.endpoint.ports[0].host_port
        with serve(one.netns, 80), serve(two.netns, 80):
            assert ask(lab.wire.peer, lab.wire.host_address, port)  # while no daemon runs
            lab.driver.network_create(networks[0])
            assert ask(lab.wire.peer, lab.wire.host_address, port)
            for _ in range(2):
                lab.driver.network_restore(tuple(networks), (one.endpoint,))
                assert ask(lab.wire.peer, lab.wire.host_address, port)
                assert ask(None, "127.0.0.1", port)
                assert unreachable(lab.wire.peer, lab.wire.host_address, other)
            with pytest.raises(Conflict):
                lab.attach(networks[0], ports=(PortBinding(80, host_port=port),))
            lab.detach(one)
            assert unreachable(lab.wire.peer, lab.wire.host_address, port)

    def test_detach_of_what_a_former_daemon_attached(self, lab: NetworkLab) -> None:
        networks, attached = lab.crash(["bridge"], 2)
        for one in attached:
            lab.detach(one)
        lab.driver.network_create(networks[0])
        for one in attached:
            lab.detach(one)
        lab.driver.network_restore((), ())
        assert lab.links_soon(HOST_LINKS) == HOST_LINKS

    def test_restore_to_nothing_on_an_empty_host(self, lab: NetworkLab) -> None:
        lab.driver.network_restore((), ())
        assert lab.links() == HOST_LINKS
