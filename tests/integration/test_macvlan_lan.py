"""macvlan containers on a real LAN, and networks that lead nowhere."""

from __future__ import annotations

import pytest

from barque.spi.errors import BarqueError, Conflict, FailedPrecondition, InvalidArgument
from barque.spi.network import NetworkSpec, Subnet
from barque.testing.lan import ask, lan, serve, unreachable
from barque.testing.network_lab import HOST_LINKS, NetworkLab
from barque_net_macvlan.networks import OWNER
from barque_net_macvlan.options import IPVLAN, MACVLAN
from barque_net_macvlan.plugin import MacvlanNetwork
from barque_net_macvlan.probing import lacks

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(lacks(MACVLAN)), reason="the kernel makes no macvlan links"),
]


def _driver():
    return MacvlanNetwork("macvlan", MacvlanNetwork.Config())


@pytest.fixture
def lab():
    with lan() as wire:
        one = NetworkLab(wire, _driver)
        yield one
        one.close()
        assert one.links_soon(HOST_LINKS) == HOST_LINKS


def _on_the_lan(lab, **options):
    subnet = Subnet("198.51.100.0/24", "198.51.100.2")
    return lab.network("lan", subnets=(subnet,), options={"parent": "lan0", **options})


def test_containers_are_machines_of_the_lan(lab):
    network = _on_the_lan(lab)
    assert not network.internal
    one, two = lab.attach(network, ipv4="198.51.100.50"), lab.attach(network, ipv4="198.51.100.51")
    with serve(one.netns, 80), serve(lab.wire.peer, 80):
        assert ask(two.netns, one.address, 80) == two.address
        assert ask(lab.wire.peer, one.address, 80) == lab.wire.peer_address
        assert ask(one.netns, lab.wire.peer_address, 80) == one.address
        assert unreachable(None, one.address, 80)  # the host and its macvlans do not see one another


@pytest.mark.parametrize("mode", ["private", "vepa"])
def test_modes_that_keep_containers_apart(lab, mode):
    network = _on_the_lan(lab, macvlan_mode=mode)
    one, two = lab.attach(network, ipv4="198.51.100.50"), lab.attach(network, ipv4="198.51.100.51")
    with serve(one.netns, 80):
        assert unreachable(two.netns, one.address, 80)
        assert ask(lab.wire.peer, one.address, 80) == lab.wire.peer_address


def test_passthru_has_room_for_one(lab):
    network = _on_the_lan(lab, macvlan_mode="passthru")
    lab.attach(network)
    with pytest.raises(BarqueError):
        lab.attach(network)
    with pytest.raises(Conflict, match="already using parent interface lan0"):
        lab.network("other", options={"parent": "lan0"})


@pytest.mark.row("S39")
def test_without_a_parent_a_network_is_internal(lab):
    network = lab.network("alone")
    assert network.internal
    one, two = lab.attach(network), lab.attach(network)
    assert one.endpoint.gateway4 == ""
    assert "default" not in lab.run(one.netns, "ip", "route")
    with serve(one.netns, 80):
        assert ask(two.netns, one.address, 80) == two.address
    with serve(lab.wire.peer, 80):
        assert unreachable(one.netns, lab.wire.peer_address, 80)


def test_an_internal_network_on_a_parent_has_no_default_route(lab):
    subnet = Subnet("198.51.100.0/24", "198.51.100.2")
    network = lab.network("lan", subnets=(subnet,), internal=True, options={"parent": "lan0"})
    attached = lab.attach(network)
    assert "default" not in lab.run(attached.netns, "ip", "route")


@pytest.mark.row("R3")
def test_links_of_networks_that_a_crash_forgot_go(lab):
    networks, _ = lab.crash(["one", "two"], 1)
    assert len(lab.links() - HOST_LINKS) >= 2
    assert lab.driver.network_create(networks[0]) == networks[0]
    lab.driver.network_restore((networks[0],), ())
    left = {name for name in lab.links() - HOST_LINKS if not name.endswith("p")}
    assert left == {f"dm-{networks[0].id[:11]}"}


@pytest.mark.row("R3")
def test_links_of_another_daemon_stay(lab):
    other = _driver()
    theirs = other.network_create(NetworkSpec("e" * 64, "theirs"))
    mine = lab.network("mine")
    assert mine.options[OWNER] != theirs.options[OWNER]
    lab.driver.network_restore((), ())
    assert f"dm-{'e' * 11}" in lab.links()
    other.network_remove(theirs)


@pytest.mark.parametrize("name", ["lo", "nope", "nope.10"])
def test_parents_that_are_none(lab, name):
    refusal = (
        InvalidArgument if name == "lo" else FailedPrecondition
    )  # the engine's restore goes on without such a network
    with pytest.raises(refusal):
        lab.network("n", options={"parent": name})
    with pytest.raises(InvalidArgument):
        lab.network("n", options={"parent": "lan0", "macvlan_mode": "x"})


def test_a_parent_that_was_there_stays(lab):
    network = _on_the_lan(lab)
    lab.driver.network_remove(network)
    assert lab.links() == HOST_LINKS


@pytest.mark.skipif(not lacks(IPVLAN), reason="the kernel makes ipvlan links")
def test_a_kernel_without_ipvlan_is_told():
    from barque_net_macvlan.ipvlan import IpvlanNetwork

    probe = IpvlanNetwork("ipvlan", IpvlanNetwork.Config()).network_probe()
    assert not probe.usable
    assert "ipvlan" in probe.problems[0].what
