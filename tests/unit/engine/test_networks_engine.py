"""Networks in the engine, with drivers that only take notes."""

import contextlib
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from barque.engine.events import EventBus
from barque.engine.layout import Layout
from barque.engine.networking.checking import check_endpoint, check_mode, check_network_name, check_subnets
from barque.engine.networking.choosing import Wanted, gateway, interfaces, kept_ports, ports_of
from barque.engine.networking.links import Link, parse_link, with_links, without_link
from barque.engine.networking.naming import dns_names
from barque.engine.networking.resolving import NameService
from barque.engine.networking.service import NetworkService
from barque.engine.networking.stored import StoredNetwork
from barque.engine.records import StoredContainer
from barque.spi.common import Platform
from barque.spi.errors import (
    AlreadyExists,
    Conflict,
    InvalidArgument,
    NotFound,
    NotImplemented,
    PermissionDenied,
)
from barque.spi.frontend import ContainerConfig, EndpointConfig
from barque.spi.network import Attachment, Endpoint, NetworkCapability, NetworkSpec, PortBinding, Subnet
from barque.store.database import Database

BRIDGE = frozenset({NetworkCapability.PORTS, NetworkCapability.CREATE, NetworkCapability.CONNECT})


class Driver:
    def __init__(self, name, capabilities):
        self.name, self.capabilities, self.calls = name, capabilities, []
        self.loaded = SimpleNamespace(label=f"network driver {name!r}")
        self.fail_at = ""

    def _called(self, *call):
        self.calls.append(call)
        if call[1] == self.fail_at:
            raise Conflict("no")

    def create(self, spec):
        self._called("create", spec.name)
        return spec if spec.subnets else replace(spec, subnets=(Subnet("10.1.0.0/24", "10.1.0.1"),))

    def remove(self, spec):
        self._called("remove", spec.name)

    def attach(self, spec, netns):
        self._called("attach", spec.network.name, spec.interface, spec.default_route, spec.ports)
        made = Endpoint(
            spec.id, spec.network.id, spec.container_id, spec.interface, ipv4="10.1.0.2/24", ports=spec.ports,
            default_route=spec.default_route,
        )  # fmt: skip
        return Attachment(made)

    def detach(self, endpoint, netns=None):
        self._called("detach", endpoint.interface)

    def restore(self, networks, endpoints):
        self._called("restore", {n.name for n in networks}, {e.id for e in endpoints})

    def close(self):
        self._called("close", "")


class Sandboxes:
    """Descriptors in place of namespaces."""

    def __init__(self):
        self.taken = []

    def take(self):
        self.taken.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        return self.taken[-1]

    def close(self):
        pass


class Drivers:
    def __init__(self):
        self.made = {"bridge": Driver("bridge", BRIDGE), "none": Driver("none", frozenset())}
        self.made["plain"] = Driver("plain", frozenset({NetworkCapability.CREATE}))
        section = SimpleNamespace(predefined=("bridge", "none"), default="bridge")
        self.profile = SimpleNamespace(network=section)

    def names(self, kind):
        return tuple(self.made)

    def network(self, name):
        return self.made[name]

    def driver_of(self, kind, name):
        return name


class Lab:
    def __init__(self, tmp_path):
        self.layout = Layout(tmp_path / "root", tmp_path / "run")
        self.layout.make()
        self.drivers, self.sandboxes, self.events = Drivers(), Sandboxes(), EventBus()
        self.database = Database(tmp_path / "db")
        self.service = self.new_service()
        self.service.load()
        self.service.restore(tuple)

    def new_service(self):
        names = NameService(self.layout)
        return NetworkService(self.drivers, self.database, self.sandboxes, self.events, names)

    @property
    def bridge(self):
        return self.drivers.made["bridge"]

    def network(self, name, driver="bridge", **fields):
        stored = StoredNetwork(NetworkSpec(name * 8, name, **fields), driver, 1)
        self.service.table.put(stored)
        return stored

    def connect(self, id="c1", ports=(), **config):
        self.layout.container(id).mkdir(exist_ok=True)
        return self.service.connect(id, ContainerConfig("i", **config), ports)


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.database.close()
    for fd in lab.sandboxes.taken:
        with contextlib.suppress(OSError):
            os.close(fd)


def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


# At a start


def test_the_default_network_alone_costs_one_attach_and_no_write(lab):
    lab.connect("c0")
    lab.bridge.calls.clear()
    before = lab.database._db.total_changes
    connection = lab.connect()
    assert [call[:4] for call in lab.bridge.calls] == [("attach", "bridge", "eth0", True)]
    assert lab.database._db.total_changes == before
    assert not connection.resolver
    assert not (lab.layout.run / "resolver").exists()


def test_several_networks_in_order_one_of_them_with_route_and_ports(lab):
    lab.network("nn1", internal=True)
    lab.network("nn2")
    lab.network("nn3")
    ports = (PortBinding(80),)
    networks = {
        "nn3": EndpointConfig(),
        "nn1": EndpointConfig(gateway_priority=9),
        "nn2": EndpointConfig(options={"com.docker.network.endpoint.ifname": "eth0"}),
        "bridge": EndpointConfig(gateway_priority=-1),
    }
    lab.bridge.calls.clear()
    connection = lab.connect(ports=ports, network="nn3", networks=networks)
    attached = [call for call in lab.bridge.calls if call[0] == "attach"]
    assert attached == [
        ("attach", "bridge", "eth1", False, ()),
        ("attach", "nn3", "eth2", False, ()),
        ("attach", "nn1", "eth3", False, ()),
        ("attach", "nn2", "eth0", True, ports),
    ]
    assert list(connection.endpoints) == ["bridge", "nn3", "nn1", "nn2"]
    assert connection.resolver
    assert len(lab.sandboxes.taken) == 1
    lab.service.disconnect(connection.endpoints)
    assert [c for c in lab.bridge.calls if c[0] == "detach"] == [("detach", f"eth{n}") for n in (1, 2, 3, 0)]
    assert all(lab.service.live.of(one.network_id) == () for one in connection.endpoints.values())


def test_a_failure_takes_back_what_was_attached(lab):
    lab.network("nn1")
    lab.network("nn2")
    lab.bridge.fail_at = "nn2"
    lab.service.realiser._realised.add("nn2" * 8)
    with pytest.raises(Conflict):
        lab.connect(networks={"nn1": EndpointConfig(), "nn2": EndpointConfig()})
    assert ("detach", "eth0") in lab.bridge.calls
    assert lab.service.live.of("nn1" * 8) == lab.service.live.of("nn2" * 8) == ()
    assert not is_open(lab.sandboxes.taken[0])


def test_a_network_that_was_removed_meanwhile_is_not_made_again(lab):
    """Found a moment before somebody removed it: the driver is not asked for it, and nothing of it is kept."""
    network = lab.network("nn1")
    found = [Wanted(network, EndpointConfig())]
    lab.service.table.delete(network)
    lab.bridge.calls.clear()
    with pytest.raises(NotFound, match="network nn1 not found"):
        lab.service.attacher.attach_all("c1", found, ())
    with pytest.raises(NotFound, match="network nn1 not found"):
        lab.service.attacher.attach_one("c1", found[0], "eth1", 0)
    assert lab.bridge.calls == []
    assert lab.service.live.of(network.id) == ()
    assert lab.service.table.get(network.id) is None


def test_nothing_is_claimed_after_a_refusal(lab):
    network = lab.network("nn1", driver="plain")
    with pytest.raises(NotImplemented):
        lab.service.attacher.attach_one("c1", Wanted(network, EndpointConfig()), "eth1", 0)
    assert lab.service.live.of(network.id) == ()


def test_a_driver_that_cannot_have_several_says_so(lab):
    lab.network("pp1", "plain")
    with pytest.raises(NotImplemented, match="several networks"):
        lab.connect(networks={"pp1": EndpointConfig(), "bridge": EndpointConfig()})


def test_ports_are_ignored_where_the_driver_has_none(lab):
    connection = lab.connect(network="none", ports=(PortBinding(80),))
    assert connection.endpoints["none"].ports == ()


def test_events_of_a_start_and_an_end(lab):
    stream = lab.events.subscribe(0, None)
    connection = lab.connect()
    lab.service.disconnect(connection.endpoints)
    seen = [stream.next(0), stream.next(0)]
    attributes = {"container": "c1", "name": "bridge", "type": "bridge"}
    assert [(e.type, e.action, e.attributes) for e in seen] == [
        ("network", "connect", attributes),
        ("network", "disconnect", attributes),
    ]


# The table


def test_found_by_name_id_and_unique_prefix(lab):
    lab.network("abc1")
    lab.network("abc2")
    find = lab.service.table.find
    assert find("abc1").name == find("abc1" * 8).name == find("abc1abc").name == "abc1"
    assert find("").name == find("default").name == "bridge"
    with pytest.raises(InvalidArgument, match="2 matches found based on ID prefix"):
        find("abc")
    with pytest.raises(NotFound, match="network zzz not found"):
        find("zzz")


def test_one_name_is_given_once(lab):
    with lab.service.table.naming("new"):
        with (
            pytest.raises(AlreadyExists, match="network with name new already exists"),
            lab.service.table.naming("new"),
        ):
            pass
        with pytest.raises(NotFound):
            lab.service.table.find("new")
    with lab.service.table.naming("new"):
        pass


def test_what_a_killed_daemon_was_about_to_make_is_taken_away(lab):
    lab.service.table.intend(StoredNetwork(NetworkSpec("u" * 64, "half"), "plain", 1))
    later = lab.new_service()
    later.load()
    with pytest.raises(NotFound):
        later.find("half")
    later.restore(tuple)
    assert ("remove", "half") in lab.drivers.made["plain"].calls
    assert "u" * 64 not in dict(lab.database.all("networks"))


def test_restore_tells_drivers_of_networks_and_endpoints_and_keeps_them(lab):
    lab.network("nn1")
    endpoint = Endpoint("e1", "nn1" * 8, "c1")
    stray = Endpoint("e2", "gone", "c1")
    later = lab.new_service()
    later.load()
    later.adopt((endpoint,))
    later.restore(lambda: (endpoint, stray))
    assert lab.bridge.calls[-1] == ("restore", {"bridge", "nn1"}, {"e1"})
    assert later.live.of("nn1" * 8) == (endpoint,)
    assert not any(
        call[0] == "restore" for call in lab.drivers.made["plain"].calls
    )  # it has no networks: not even loaded


def test_nobody_joins_a_network_that_is_being_removed(lab):
    network = lab.network("nn1")
    with lab.service.live.closed(network.id) as endpoints:
        assert endpoints == ()
        with pytest.raises(NotFound, match="not found"):
            lab.connect(network="nn1")
    connection = lab.connect(network="nn1")
    with lab.service.live.closed(network.id) as endpoints:
        assert endpoints == tuple(connection.endpoints.values())


# What a container asks for


def test_networks_of_a_new_container_are_kept_by_name(lab):
    network = lab.network("nn1")
    asked = ContainerConfig(
        "i",
        network=network.id,
        networks={network.id: EndpointConfig(aliases=("a",)), "later": EndpointConfig()},
    )
    assert lab.service.checked(asked, asked).networks == {
        "nn1": EndpointConfig(aliases=("a",)),
        "later": EndpointConfig(),
    }
    asked = ContainerConfig("i", network="nn1")
    assert lab.service.checked(asked, asked).networks == {"nn1": EndpointConfig()}
    plain = ContainerConfig("i")
    assert lab.service.checked(plain, plain) is plain
    bad = ContainerConfig("i", networks={"bridge": EndpointConfig(aliases=("a",))})
    with pytest.raises(
        InvalidArgument,
        match=r"invalid config for network bridge: invalid endpoint settings:\nnetwork-scoped",
    ):
        lab.service.checked(bad, bad)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"network": "container:"}, "Invalid network mode: invalid container format container:<name|id>"),
        ({"network": "container:x", "hostname": "h"}, "conflicting options: hostname and the network mode"),
        ({"network": "container:x", "dns": ("1.1.1.1",)}, "conflicting options: dns and the network mode"),
        ({"network": "container:x", "extra_hosts": ("a:1.1.1.1",)}, "conflicting options: custom host-to-IP mapping and the network mode"),
        ({"network": "container:x", "publish_all": True}, "conflicting options: port publishing and the container type network mode"),
        ({"network": "container:x", "exposed_ports": ("80/tcp",)}, "conflicting options: port exposing and the container type network mode"),
        ({"network": "host", "networks": {"host": EndpointConfig(mac="2")}}, "conflicting options: mac-address and the network mode"),
        ({"network": "host", "links": ("a",)}, "conflicting options: host type networking can't be used with links."),
        ({"network": "container:x", "links": ("a",)}, "conflicting options: container type network can't be used with links."),
    ],
)  # fmt: skip
def test_modes_that_do_not_go_with_an_option(fields, words):
    with pytest.raises(InvalidArgument) as caught:
        check_mode(ContainerConfig("i", **fields))
    assert caught.value.message.startswith(words)


@pytest.mark.parametrize("name", ["a\nb", "a/b", "container:x", "", " \t"])
def test_names_that_no_network_has(name):
    with pytest.raises(InvalidArgument, match="invalid network name"):
        check_network_name(name, frozenset())


def test_predefined_names():
    with pytest.raises(PermissionDenied, match="predefined lan network"):
        check_network_name("lan", frozenset({"lan"}))
    check_network_name("lan", frozenset())
    check_network_name("Größe 1.2_x-y", frozenset())


@pytest.mark.parametrize(
    ("subnet", "words"),
    [
        (Subnet("10.0.0.1/24"), "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"),
        (Subnet("10.0.0.0/33"), "invalid subnet 10.0.0.0/33: invalid CIDR block notation"),
        (Subnet("10.0.0.0"), "invalid subnet 10.0.0.0: invalid CIDR block notation"),
        (Subnet("10.0.0.0/255.255.255.0"), "invalid subnet 10.0.0.0/255.255.255.0: invalid CIDR block notation"),
        (Subnet(""), "invalid subnet : invalid CIDR block notation"),
        (Subnet("10.0.0.0/24", "10.0.1.1"), "invalid gateway 10.0.1.1: parent subnet 10.0.0.0/24 doesn't contain this address"),
        (Subnet("10.0.0.0/24", "fd00::1"), "invalid gateway fd00::1: parent subnet is an IPv4 block"),
        (Subnet("10.0.0.0/24", "x"), "invalid gateway x: invalid address"),
        (Subnet("10.0.0.0/24", "", "10.0.0.0/23"), "invalid ip-range 10.0.0.0/23: CIDR block is bigger than its parent subnet 10.0.0.0/24"),
        (Subnet("10.0.0.0/24", "", "10.0.0.7/25"), "invalid ip-range 10.0.0.7/25: it should be 10.0.0.0/25"),
        (Subnet("10.0.0.0/24", "", "10.0.1.0/25"), "invalid ip-range 10.0.1.0/25: parent subnet 10.0.0.0/24 doesn't contain ip-range"),
        (Subnet("10.0.0.0/24", "", "fd00::/64"), "invalid ip-range fd00::/64: parent subnet is an IPv4 block"),
        (Subnet("fd00::/64", auxiliary={"a": "fd01::1"}), "invalid auxiliary address a: parent subnet fd00::/64 doesn't contain this address"),
    ],
)  # fmt: skip
def test_subnets(subnet, words):
    with pytest.raises(InvalidArgument) as caught:
        check_subnets([subnet], ipv6=True)
    assert caught.value.message == f"invalid network config:\n{words}"


def test_subnets_that_will_do():
    check_subnets(
        [Subnet("10.0.0.0/24", "10.0.0.1", "10.0.0.0/25", {"a": "10.0.0.9"}), Subnet("fd00::/64")], ipv6=True
    )
    check_subnets([Subnet("fd00::1/64")], ipv6=False)  # left out, so not looked at: as Docker


def test_addresses_are_chosen_in_configured_subnets_only():
    network = StoredNetwork(NetworkSpec("x", "x"), "bridge", 1, configured=("10.0.0.0/24", "fd00::/64"))
    check_endpoint(
        network, False, EndpointConfig(ipv4="10.0.0.7", ipv6="fd00::7", link_local=("169.254.1.1", "fe80::1"))
    )
    check_endpoint(None, False, EndpointConfig(ipv4="10.9.0.7"))
    with pytest.raises(InvalidArgument) as caught:
        check_endpoint(network, False, EndpointConfig(ipv4="10.9.0.7", ipv6="0.0.0.0", link_local=("x",)))
    assert caught.value.message.splitlines() == [
        "invalid endpoint settings:",
        "no configured subnet or ip-range contain the IP address 10.9.0.7",
        "invalid IPv6 address: 0.0.0.0",
        "invalid link-local IP address: x",
    ]


# Which is the way out


def wanted(name, priority=0, **spec):
    network = StoredNetwork(NetworkSpec(name, name, **spec), "bridge", 1)
    return Wanted(network, EndpointConfig(gateway_priority=priority))


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        ([wanted("b"), wanted("a")], "a"),
        ([wanted("b", 1), wanted("a")], "b"),
        ([wanted("b", ipv6=True), wanted("a")], "b"),
        ([wanted("b", ipv6=True), wanted("a", 1)], "a"),
        ([wanted("b", -1), wanted("a", -2)], "b"),
        ([wanted("b", 9, internal=True), wanted("a")], "a"),
        ([wanted("b", internal=True)], None),
        ([], None),
    ],
)
def test_gateway(networks, expected):
    found = gateway(networks)
    assert (found.network.name if found else None) == expected


def test_interfaces_fill_gaps_and_keep_names():
    named = Wanted(
        wanted("a").network, EndpointConfig(options={"com.docker.network.endpoint.ifname": "lan0"})
    )
    assert interfaces([wanted("a"), named, wanted("b")]) == ["eth0", "lan0", "eth1"]
    assert interfaces([wanted("a")], ["eth0", "eth2"]) == ["eth1"]


def test_ports_that_were_chosen_stay():
    had = (
        PortBinding(80, "tcp", "0.0.0.0", 32768),
        PortBinding(80, "tcp", "::", 32768),
        PortBinding(53, "udp", "1.1.1.1", 8053),
    )
    asked = (
        PortBinding(80),
        PortBinding(53, "udp", "1.1.1.1", 8050, 8060),
        PortBinding(53, "udp", "", 99),
        PortBinding(81),
    )
    assert kept_ports(asked, had) == (
        PortBinding(80, host_port=32768),
        PortBinding(53, "udp", "1.1.1.1", 8053),
        PortBinding(53, "udp", "", 99),
        PortBinding(81),
    )
    assert kept_ports(asked, ()) == asked


def test_all_exposed_ports():
    config = ContainerConfig("i", ports=(PortBinding(80),), exposed_ports=("80/tcp", "80/udp", "90"))
    assert ports_of(config) == config.ports
    assert ports_of(replace(config, publish_all=True)) == (
        PortBinding(80),
        PortBinding(80, "udp"),
        PortBinding(90),
    )


# Names and links


def test_dns_names_are_in_dockers_order_and_once():
    assert dns_names("0123456789abcdef", "web", "0123456789ab", ("www", "web")) == (
        "web",
        "www",
        "0123456789ab",
    )
    assert dns_names("0123456789abcdef", "web", "host", ()) == ("web", "0123456789ab", "host")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("db", ("db", "db")), ("db:alias", ("db", "alias")), ("/db:/web/alias", ("db", "alias"))],
)
def test_links_as_written(text, expected):
    assert parse_link(text) == expected


@pytest.mark.parametrize("text", ["", ":x", "a:b:c"])
def test_bad_links(text):
    with pytest.raises(InvalidArgument, match=f"bad format for links: {text}"):
        parse_link(text)


def target(**config):
    return StoredContainer(
        id="7" * 64, name="db", created_ns=1, image_id="i", config=ContainerConfig("i", **config), path="p", args=(),
        platform=Platform(), runtime="r", storage="s", log_driver="l", log_options={}, hostname="dbhost",
    )  # fmt: skip


def test_variables_of_a_link():
    link = Link(
        "my-db", target(exposed_ports=("53/udp", "53/tcp"), env=("A=1", "PATH=/bin", "HOME=/")), ("10.0.0.2",)
    )
    config = with_links(ContainerConfig("i", env=("X=1",)), "web", (link,))
    assert config.env == (
        "MY_DB_PORT=tcp://10.0.0.2:53",
        "MY_DB_PORT_53_TCP=tcp://10.0.0.2:53", "MY_DB_PORT_53_TCP_PORT=53", "MY_DB_PORT_53_TCP_ADDR=10.0.0.2", "MY_DB_PORT_53_TCP_PROTO=tcp",
        "MY_DB_PORT_53_UDP=udp://10.0.0.2:53", "MY_DB_PORT_53_UDP_PORT=53", "MY_DB_PORT_53_UDP_ADDR=10.0.0.2", "MY_DB_PORT_53_UDP_PROTO=udp",
        "MY_DB_NAME=/web/my-db", "MY_DB_ENV_A=1", "X=1",
    )  # fmt: skip
    assert link.hosts == [("10.0.0.2", ["my-db", "dbhost", "db"])]


def test_a_run_of_ports_has_its_ends_told():
    link = Link("db", target(exposed_ports=("1/tcp", "2/tcp", "3/tcp", "7/tcp", "8/tcp")), ("10.0.0.2",))
    env = with_links(ContainerConfig("i"), "web", (link,)).env
    assert [line for line in env if "START" in line or "END" in line] == [
        "DB_PORT_1_TCP_START=tcp://10.0.0.2:1", "DB_PORT_1_TCP_PORT_START=1", "DB_PORT_1_TCP_END=tcp://10.0.0.2:3", "DB_PORT_1_TCP_PORT_END=3",
    ]  # fmt: skip


def test_a_link_is_taken_away_by_its_alias():
    config = ContainerConfig("i", links=("db:a", "db"))
    assert without_link(config, "a").links == ("db",)
    with pytest.raises(NotFound, match="Cannot get parent /b for link"):
        without_link(config, "b")


def test_an_address_is_set_aside_once():
    """In the words of dockerd."""
    gateway = Subnet("10.1.0.0/24", "10.1.0.1", "", {"printer": "10.1.0.1"})
    twice = Subnet("fd00::/64", "", "", {"a": "fd00::9", "b": "fd00:0::9"})
    for subnet, words in ((gateway, "printer:10.1.0.1"), (twice, "b:fd00:0::9")):
        told = rf"failed to allocate secondary ip address \({words}\): Address already in use"
        with pytest.raises(PermissionDenied, match=told):
            check_subnets((subnet,), True)
    check_subnets((twice, Subnet("10.1.0.0/24", "10.1.0.1", "", {"a": "10.1.0.2", "b": "10.1.0.3"})), False)
