"""The bridge driver: published ports of every kind, networks that change while a container runs, options, upgrades."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from bridge_rig import Rig, address, shell

from barque.spi.errors import BarqueError, Conflict, InvalidArgument
from barque.spi.network import NetworkSpec, PortBinding, Subnet
from barque.testing.lan import ask, inside, lan, serve, unreachable
from barque_net_bridge import nfnetlink
from barque_net_bridge.netlink import NETLINK_NETFILTER, NetlinkSocket, Request
from barque_net_bridge.plugin import BridgeConfig

pytestmark = pytest.mark.root

OPTION = "com.docker.network.bridge."


@pytest.fixture
def rig() -> Iterator[Rig]:
    with lan() as wire, ExitStack() as cleanup:
        for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
            switch = Path("/proc/sys/net/bridge") / name
            if switch.exists():
                switch.write_text("0")
        yield Rig(wire, cleanup)


# -- ports


def crc32c(data: bytes) -> int:
    """The checksum of SCTP (RFC 9260, appendix A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def sctp_init(port: int) -> bytes:
    """The first packet of an association, from port 40000 (RFC 9260, section 3.3.2)."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 0x1234, 65536, 1, 1, 1)
    head = struct.pack("!HHI", 40000, port, 0)
    return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk


@pytest.mark.parametrize("ipv6", [False, True])
def test_sctp_reaches_the_container(rig: Rig, ipv6: bool) -> None:
    network = rig.network("dual", ipv6=True)
    endpoint, netns = rig.container(PortBinding(9000, "sctp", host_port=9100), network=network)
    assert {port.host_port for port in endpoint.ports} == {9100}
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    target = rig.wire.host_address6 if ipv6 else rig.wire.host_address
    open_raw = lambda: socket.socket(family, socket.SOCK_RAW, 132)  # noqa: E731
    with inside(netns, open_raw) as server, inside(rig.wire.peer, open_raw) as client:
        server.settimeout(3)
        client.sendto(sctp_init(9100), (target, 0))
        packet, sender = server.recvfrom(200)
        assert struct.unpack("!HH", packet[0 if ipv6 else 20 :][:4]) == (40000, 9000)
        assert sender[0] == (rig.wire.peer_address6 if ipv6 else rig.wire.peer_address)
    with pytest.raises(Conflict, match=r"Bind for 0\.0\.0\.0:9100 failed: port is already allocated"):
        rig.container(PortBinding(9000, "sctp", host_port=9100))
    rig.container(PortBinding(9000, "tcp", host_port=9100))  # another protocol's number
    chosen, _ = rig.container(PortBinding(9000, "sctp"))
    assert chosen.ports[0].host_port > 1024
    rig.driver.network_detach(endpoint, None)
    assert rig.container(PortBinding(9000, "sctp", host_port=9100))[0].ports


def test_range_gives_the_first_port_that_is_free(rig: Rig) -> None:
    span = PortBinding(80, host_port=8100, host_port_last=8102)
    with serve(None, 8101, address="127.0.0.1"):
        first, second = (rig.container(span)[0] for _ in range(2))
        assert [one.ports[0].host_port for one in (first, second)] == [8100, 8102]
        assert first.ports[0].host_port_last == 0
        with pytest.raises(Conflict, match=r"8100-8102 failed: all ports are allocated"):
            rig.container(span)
    rig.driver.network_detach(first, None)
    assert rig.container(span)[0].ports[0].host_port == 8100


def test_number_that_only_one_family_has_free_is_nobodys(rig: Rig) -> None:
    network = rig.network("dual", ipv6=True)
    with serve(None, 8200, address="::1"):
        with pytest.raises(
            Conflict, match=r"failed to bind host port for :::8200:80/tcp: address already in use"
        ):
            rig.container(PortBinding(80, host_port=8200), network=network)
        span = PortBinding(80, host_port=8200, host_port_last=8201)
        endpoint, _ = rig.container(span, network=network)
    assert {(port.host_ip, port.host_port) for port in endpoint.ports} == {("0.0.0.0", 8201), ("::", 8201)}
    rig.container(PortBinding(80, host_port=8200), network=network)  # nothing was kept of the attempts


def test_default_address_of_a_network(rig: Rig) -> None:
    network = rig.network("local", ipv6=True, options={OPTION + "host_binding_ipv4": "127.0.0.1"})
    endpoint, netns = rig.container(PortBinding(80, host_port=8080), network=network)
    assert [port.host_ip for port in endpoint.ports] == ["127.0.0.1"]
    with serve(netns, 80):
        assert ask(None, "127.0.0.1", 8080)
        assert unreachable(rig.wire.peer, rig.wire.host_address, 8080)


def test_ports_of_another_container_through_every_address_of_the_host(rig: Rig) -> None:
    _, server = rig.container(PortBinding(80, host_port=8080))
    _, client = rig.container(network=rig.network("other"))
    with serve(server, 80):
        for host in (
            rig.wire.host_address,
            rig.bridge.subnets[0].gateway,
            rig.network("other").subnets[0].gateway,
        ):
            assert ask(client, host, 8080)


def test_internal_container_does_not_reach_published_ports(rig: Rig) -> None:
    _, server = rig.container(PortBinding(80, host_port=8080))
    network = rig.network("inner", internal=True)
    _, client = rig.container(network=network)
    with serve(server, 80):
        assert unreachable(client, network.subnets[0].gateway, 8080)


# -- changes while a container runs


def test_a_change_of_ports_is_one_transaction(rig: Rig) -> None:
    network = rig.network("dual", ipv6=True)
    endpoint, netns = rig.container(PortBinding(80, host_port=8080), PortBinding(81), network=network)
    with NetlinkSocket(NETLINK_NETFILTER) as channel:
        before = nfnetlink.generation(channel)
        ports = (PortBinding(80, host_port=8090), PortBinding(82, host_ip="127.0.0.1"))
        changed = rig.driver.network_update(endpoint, netns, True, ports)
        assert nfnetlink.generation(channel) == before + 1
        again = rig.driver.network_update(changed, netns, True, changed.ports)
        assert again == changed
        assert nfnetlink.generation(channel) == before + 1
    with serve(netns, 80):
        assert ask(rig.wire.peer, rig.wire.host_address, 8090)
        assert unreachable(rig.wire.peer, rig.wire.host_address, 8080)
    rig.container(PortBinding(80, host_port=8080))


def test_update_that_fails_in_the_sandbox_leaves_rules_and_ports(rig: Rig) -> None:
    endpoint, netns = rig.container(PortBinding(80, host_port=8080))
    shell(netns, "ip", "link", "set", "eth0", "down")  # a route through it is refused
    rules = shell(None, "nft", "list", "ruleset")
    with pytest.raises(BarqueError, match="default route"):
        rig.driver.network_update(endpoint, netns, True, (PortBinding(80, host_port=8090),))
    assert shell(None, "nft", "list", "ruleset") == rules
    rig.container(PortBinding(80, host_port=8090))
    with pytest.raises(Conflict):
        rig.container(PortBinding(80, host_port=8080))


# -- what an attach costs


def test_plain_attach_costs_few_messages(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send = NetlinkSocket._send

    def counting(self: NetlinkSocket, requests: tuple[Request, ...], flags: int) -> None:
        sent.append(len(requests))
        send(self, requests, flags)

    monkeypatch.setattr(NetlinkSocket, "_send", counting)
    network = rig.network("plain", options={OPTION + "default_bridge": "false"})
    sent.clear()
    endpoint, _ = rig.container(network=network)
    assert sent == [1, 1, 4]  # the pair; which index; up, up, address, default route
    sent.clear()
    rig.driver.network_detach(endpoint, None)
    assert sent == []


# -- options


def test_options_of_networks_and_endpoints(rig: Rig) -> None:
    options = {
        OPTION + "name": "br-mine", OPTION + "inhibit_ipv4": "true", "com.docker.network.driver.mtu": "1400",
        "com.docker.network.container_iface_prefix": "net",
    }  # fmt: skip
    network = rig.network("mine", subnets=(Subnet("10.78.0.0/24"),), options=options)
    assert "inet " not in shell(None, "ip", "address", "show", "br-mine")
    setting = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.neigh.IFNAME.gc_stale_time=99"
    endpoint, netns = rig.container(
        network=network, interface="eth3", link_local=("169.254.9.9",),
        options={"com.docker.network.endpoint.sysctls": setting},
    )  # fmt: skip
    assert endpoint.interface == "net3"
    shown = shell(netns, "ip", "address", "show", "net3")
    assert "mtu 1400" in shown
    assert "inet 169.254.9.9/16 scope link" in shown
    for path, value in (("conf/net3/log_martians", "1"), ("neigh/net3/gc_stale_time", "99")):
        assert shell(netns, "cat", f"/proc/sys/net/ipv4/{path}").strip() == value
    named, _ = rig.container(network=network, options={"com.docker.network.endpoint.ifname": "wan0"})
    assert named.interface == "wan0"


@pytest.mark.parametrize(
    "fields",
    [
        {"options": {"com.docker.network.endpoint.sysctls": "net.ipv4.ip_forward=1"}},
        {"options": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.eth0.log_martians=1"}},
        {"options": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.../../../kernel/x=1"}},
        {"options": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.no_such_setting=1"}},
        {"options": {"com.docker.network.endpoint.ifname": "a/b"}},
        {"link_local": ("10.0.0.1",)},
        {"link_local": ("x",)},
    ],
    ids=str,
)
def test_malformed_endpoint_options_are_refused(rig: Rig, fields: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        rig.container(**fields)


# -- upgrades


FORMER = """\
table ip barque {
  set bridges { type ifname; elements = { "barque0" }; }
  set internal { type ifname; }
  set peers { type ifname . ifname; elements = { "barque0" . "barque0" }; }
  set subnets { type ifname . ipv4_addr; flags interval; }
  set sources { type ipv4_addr; flags interval; }
  map ports_any { type inet_proto . inet_service : ipv4_addr . inet_service; elements = { tcp . 9999 : 172.17.0.2 . 80 }; }
  map ports_address { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  chain inward { iifname . oifname @peers accept
    drop
  }
  chain forward { type filter hook forward priority filter; policy accept; oifname @bridges jump inward; }
}
"""


def test_tables_of_a_former_version_become_this_ones(rig: Rig) -> None:
    rules = shell(None, "nft", "list", "ruleset")
    rig.driver.network_close()
    shell(None, "nft", "delete table ip barque")
    shell(None, "nft", FORMER)
    assert rig.driver.network_create(rig.bridge) == rig.bridge
    assert "9999" in shell(None, "nft", "list", "ruleset")  # until the containers that live on are known
    rig.driver.network_restore((rig.bridge,), ())
    assert shell(None, "nft", "list", "ruleset") == rules


def test_spec_that_was_stored_before_there_was_ipv6(rig: Rig) -> None:
    stored = NetworkSpec("e" * 64, "old", (Subnet("10.79.0.0/24", "10.79.0.1"),))
    assert rig.driver.network_create(stored) == stored
    endpoint, _ = rig.container(network=stored)
    assert (address(endpoint), endpoint.ipv6, endpoint.gateway6) == ("10.79.0.2", "", "")


def test_ranges_for_ipv6_can_be_configured() -> None:
    with lan() as wire, ExitStack() as cleanup:
        rig = Rig(wire, cleanup, BridgeConfig(pools6=("2001:db8:5::/56",), pool_prefix6=64))
        cidrs = [rig.network(name, ipv6=True).subnets[1].cidr for name in ("one", "two")]
        assert cidrs == ["2001:db8:5::/64", "2001:db8:5:1::/64"]
