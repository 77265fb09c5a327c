"""Networks with the docker CLI and the API on a real daemon: made, joined, left, removed."""

import json
import time

import pytest
from registry_image import IMAGE

pytestmark = pytest.mark.root

SHARED = "container sharing network namespace with another container or host cannot be connected to any other network"
INVALID = "invalid endpoint settings:\n"
NO_SUBNETS = (
    "user specified IP address is supported only when connecting to networks with user configured subnets"
)
ALIASES = "network-scoped alias is supported only for containers in user defined networks"
HOST_MODE = "cannot connect container to host network - container must be created in host network mode"
NONE_MODE = (
    "container cannot be connected to multiple networks with one of the networks in private (none) mode"
)
OUTSIDE = "no configured subnet or ip-range contain the IP address 10.9.9.9"
SERVER = ("sh", "-c", "while true; do echo here | nc -l -p 80; done")


class Networks:
    """What a test makes, gone at its end."""

    def __init__(self, daemon):
        self.daemon, self._networks, self._containers = daemon, [], []

    def docker(self, *arguments, code=0):
        done = self.daemon.docker(*arguments)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done.stdout.strip() if code == 0 else done.stderr.strip()

    def create(self, name, **body):
        self._networks.append(name)
        return self.daemon.json("POST", "/networks/create", {"Name": name, **body})["Id"]

    def run(self, name, *options, program=("sleep", "100000")):
        self._containers.append(name)
        return self.docker("run", "-d", "--name", name, *options, IMAGE, *program)

    def container(self, name, networks, program=("sleep", "100000"), start=True, **host):
        """One in these networks (name -> EndpointSettings), by the API."""
        body = {
            "Image": IMAGE,
            "Cmd": list(program),
            "HostConfig": {"NetworkMode": next(iter(networks)), **host},
            "NetworkingConfig": {"EndpointsConfig": networks},
        }
        self._containers.append(name)
        id = self.daemon.json("POST", f"/containers/create?name={name}", body)["Id"]
        if start:
            self.daemon.json("POST", f"/containers/{id}/start")
        return id

    def connect(self, network, container, **endpoint):
        body = {"Container": container, "EndpointConfig": endpoint}
        return self.daemon.request("POST", f"/networks/{network}/connect", body)

    def disconnect(self, network, container, **more):
        return self.daemon.request(
            "POST", f"/networks/{network}/disconnect", {"Container": container, **more}
        )

    def inspect(self, name):
        return self.daemon.json("GET", f"/containers/{name}/json")

    def shown(self, name):
        return self.inspect(name)["NetworkSettings"]["Networks"]

    def sh(self, container, script, code=0):
        return self.docker("exec", container, "sh", "-c", script, code=code)

    def way_out(self, container):
        """The interface of the default route; "" without one."""
        return self.sh(container, "ip route | sed -n 's/^default .*dev \\([^ ]*\\).*/\\1/p'").strip()

    def interfaces(self, container):
        return self.sh(container, "ls /sys/class/net").split()

    def close(self):
        for name in self._containers:
            self.daemon.request("DELETE", f"/containers/{name}?force=1")
        for name in self._networks:
            self.daemon.request("DELETE", f"/networks/{name}")


@pytest.fixture
def nets(daemon):
    nets = Networks(daemon)
    yield nets
    nets.close()


def message(answer):
    status, body = answer
    return status, json.loads(body)["message"]


def answers(lab, port, address="127.0.0.1"):
    """Whether the container behind a published port says what it should."""
    code = f"import socket; print(socket.create_connection(({address!r}, {port}), 2).recv(9))"
    deadline = time.monotonic() + 5
    while True:
        done = lab.run("python3", "-c", code, timeout=10)
        if b"here" in done.stdout or time.monotonic() > deadline:
            return b"here" in done.stdout
        time.sleep(0.1)


# Networks


def test_life_of_a_network(nets):
    id = nets.docker(
        "network", "create", "--subnet", "10.201.0.0/24", "--ip-range", "10.201.0.128/25",
        "--gateway", "10.201.0.129", "--aux-address", "printer=10.201.0.130", "--label", "a=b", "-o", "x=y", "cli-life",
    )  # fmt: skip
    nets._networks.append("cli-life")
    assert len(id) == 64
    shown = nets.daemon.json("GET", f"/networks/{id[:10]}")
    assert shown["IPAM"] == {
        "Driver": "default",
        "Options": {},
        "Config": [
            {
                "Subnet": "10.201.0.0/24",
                "IPRange": "10.201.0.128/25",
                "Gateway": "10.201.0.129",
                "AuxiliaryAddresses": {"printer": "10.201.0.130"},
            }
        ],
    }
    assert (shown["Name"], shown["Driver"], shown["Scope"]) == ("cli-life", "bridge", "local")
    assert (shown["Labels"], shown["Options"]["x"], shown["Containers"]) == ({"a": "b"}, "y", {})
    nets.container("cli-life1", {"cli-life": {}})
    address = nets.shown("cli-life1")["cli-life"]["IPAddress"]
    assert 128 <= int(address.rpartition(".")[2]) < 255
    assert address not in ("10.201.0.129", "10.201.0.130")
    refused = nets.docker("network", "rm", "cli-life", code=1)
    assert (
        'error while removing network: network cli-life has active endpoints (name:"cli-life1" id:"'
        in refused
    )
    nets.daemon.json("DELETE", "/containers/cli-life1?force=1")
    assert nets.docker("network", "rm", "cli-life") == "cli-life"
    assert nets.docker("network", "ls", "-q", "-f", "name=cli-life") == ""


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"Name": "bridge"}, 403, "operation is not permitted on predefined bridge network "),
        ({"Name": "default"}, 403, "operation is not permitted on predefined default network "),
        ({"Name": " "}, 400, "invalid network name: name is empty"),
        ({"Name": "cli-taken"}, 409, "network with name cli-taken already exists"),
        ({"Name": "n", "Driver": "nope"}, 404, 'plugin "nope" not found'),
        ({"Name": "n", "Driver": "host"}, 403, 'only one instance of "host" network is allowed'),
        ({"Name": "n", "Driver": "null"}, 403, 'only one instance of "null" network is allowed'),
        ({"Name": "n", "Driver": "overlay"}, 403, "This node is not a swarm manager."),
        ({"Name": "n", "Scope": "swarm"}, 503, "This node is not a swarm manager."),
        ({"Name": "n", "EnableIPv4": False}, 400, "IPv4 or IPv6 must be enabled"),
        ({"Name": "n", "ConfigFrom": {"Network": "no"}}, 404, 'configuration network "no" does not exist'),
        (
            {"Name": "n", "IPAM": {"Config": [{"Subnet": "10.201.1.1/24"}, {"Subnet": "x"}]}},
            400,
            "invalid network config:\ninvalid subnet 10.201.1.1/24: it should be 10.201.1.0/24\n"
            "invalid subnet x: invalid CIDR block notation",
        ),
        (
            {"Name": "n", "IPAM": {"Config": [{"Subnet": "10.201.1.0/24", "Gateway": "10.9.9.9"}]}},
            400,
            "invalid network config:\ninvalid gateway 10.9.9.9: parent subnet 10.201.1.0/24 doesn't contain this address",
        ),
    ],
)
def test_what_cannot_be_made(nets, body, status, words):
    if body["Name"] == "cli-taken":
        nets.create("cli-taken")
    got, said = message(nets.daemon.request("POST", "/networks/create", body))
    assert got == status
    assert said.startswith(words)


@pytest.mark.parametrize(
    ("ref", "status", "words"),
    [
        ("bridge", 403, "bridge is a pre-defined network and cannot be removed"),
        ("cli-nothing", 404, "network cli-nothing not found"),
    ],
)
def test_what_cannot_be_removed(nets, ref, status, words):
    assert message(nets.daemon.request("DELETE", f"/networks/{ref}")) == (status, words)


def test_settings_from_another_network(nets):
    nets.create(
        "cli-settings", ConfigOnly=True, IPAM={"Config": [{"Subnet": "10.201.2.0/24"}]}, Labels={"k": "v"}
    )
    id = nets.create("cli-set", ConfigFrom={"Network": "cli-settings"})
    shown = nets.daemon.json("GET", f"/networks/{id}")
    assert shown["IPAM"]["Config"][0]["Subnet"] == "10.201.2.0/24"
    assert (shown["Labels"], shown["ConfigFrom"]["Network"]) == ({"k": "v"}, "cli-settings")
    assert nets.daemon.json("GET", "/networks/cli-settings")["ConfigOnly"]
    assert message(nets.daemon.request("DELETE", "/networks/cli-settings")) == (
        403,
        'error while removing network: configuration network "cli-settings" is in use',
    )
    assert "configuration-only" in nets.docker(
        "run", "--rm", "--network", "cli-settings", IMAGE, "true", code=125
    )


def test_prune_takes_what_nobody_uses_and_is_asked_for(nets):
    for name in ("cli-p1", "cli-p2", "cli-p3"):
        nets.create(name, Labels={"prune-test": name})
    nets.container("cli-user", {"cli-p3": {}})
    filters = '{"label":["prune-test"],"label!":["prune-test=cli-p2"]}'
    assert nets.daemon.json("POST", f"/networks/prune?filters={filters}") == {"NetworksDeleted": ["cli-p1"]}
    old = '{"label":["prune-test"],"until":["1h"]}'
    assert nets.daemon.json("POST", f"/networks/prune?filters={old}") == {"NetworksDeleted": None}
    filters = '{"label":["prune-test"]}'
    assert nets.daemon.json("POST", f"/networks/prune?filters={filters}") == {"NetworksDeleted": ["cli-p2"]}


def test_list_filters(nets):
    nets.create("cli-f1", Labels={"filter-test": "1"})
    nets.create("cli-f2", Labels={"filter-test": "2"}, Internal=True)
    nets.container("cli-in", {"cli-f2": {}})

    def listed(**filters):
        found = nets.daemon.json("GET", f"/networks?filters={json.dumps(filters).replace(' ', '')}")
        return sorted(one["Name"] for one in found)

    assert listed(label=["filter-test"]) == ["cli-f1", "cli-f2"]
    assert listed(label=["filter-test"], dangling=["true"]) == ["cli-f1"]
    assert listed(label=["filter-test=2"], driver=["bridge"], type=["custom"]) == ["cli-f2"]
    assert listed(name=["^cli-f"], scope=["local"]) == ["cli-f1", "cli-f2"]
    assert {"bridge", "host", "none"} <= set(listed(type=["builtin"]))
    assert listed(name=["cli-f"], type=["builtin"]) == []


# Containers in several networks


def test_several_networks_from_the_start(nets):
    nets.create("cli-ma")
    nets.create("cli-mb", IPAM={"Config": [{"Subnet": "10.201.3.0/24"}]})
    nets.create("cli-mi", Internal=True)
    networks = {
        "cli-mi": {"GwPriority": 9},
        "cli-mb": {
            "IPAMConfig": {"IPv4Address": "10.201.3.77"},
            "Aliases": ["seven"],
            "MacAddress": "02:42:00:00:00:77",
            "DriverOpts": {"com.docker.network.endpoint.ifname": "lan0"},
        },
        "cli-ma": {},
    }
    nets.container("cli-many", networks)
    assert nets.interfaces("cli-many") == ["eth0", "eth1", "lan0", "lo"]
    assert nets.way_out("cli-many") == "eth1"  # by name; the internal one is none, whatever its priority
    shown = nets.shown("cli-many")
    assert list(shown) == ["cli-mi", "cli-mb", "cli-ma"] or set(shown) == set(networks)
    there = shown["cli-mb"]
    assert (there["IPAddress"], there["MacAddress"]) == ("10.201.3.77", "02:42:00:00:00:77")
    assert there["IPAMConfig"] == {"IPv4Address": "10.201.3.77"}
    assert there["DNSNames"][:2] == ["cli-many", "seven"]
    assert "10.201.3.77/24" in nets.sh("cli-many", "ip -o addr show lan0")
    nets.container("cli-other", {"cli-mb": {}})
    assert "1 packets received" in nets.sh("cli-other", "ping -c1 -W2 seven")


def test_before_api_1_44_a_container_has_one_network(nets):
    nets.create("cli-one")
    nets.create("cli-two")
    body = {"Image": IMAGE, "NetworkingConfig": {"EndpointsConfig": {"cli-one": {}, "cli-two": {}}}}
    answer = nets.daemon.request("POST", "/v1.43/containers/create", body)
    assert message(answer) == (400, "Container cannot be connected to network endpoints: cli-one, cli-two")


def test_a_failed_start_leaves_nothing_in_the_networks(nets):
    nets.create("cli-u1")
    nets.create("cli-u2", IPAM={"Config": [{"Subnet": "10.201.4.0/24"}]})
    nets.container("cli-first", {"cli-u2": {"IPAMConfig": {"IPv4Address": "10.201.4.9"}}})
    second = {"cli-u1": {}, "cli-u2": {"IPAMConfig": {"IPv4Address": "10.201.4.9"}}}
    nets.container("cli-second", second, start=False)
    answer = message(nets.daemon.request("POST", "/containers/cli-second/start"))
    assert answer == (403, "failed to set up container networking: Address already in use")
    assert nets.daemon.json("GET", "/networks/cli-u1")["Containers"] == {}
    nets.daemon.json("DELETE", "/containers/cli-first?force=1")
    nets.daemon.json("POST", "/containers/cli-second/start")  # the address is free, and was kept for nobody
    assert nets.shown("cli-second")["cli-u2"]["IPAddress"] == "10.201.4.9"


def test_both_families(nets):
    config = [{"Subnet": "10.201.8.0/24"}, {"Subnet": "fd00:201:8::/64"}]
    nets.create("cli-six", EnableIPv6=True, IPAM={"Config": config})
    nets.create("cli-four")
    address = {"IPv4Address": "10.201.8.7", "IPv6Address": "fd00:201:8::7"}
    nets.container("cli-both", {"cli-four": {}, "cli-six": {"IPAMConfig": address}})
    there = nets.shown("cli-both")["cli-six"]
    assert (there["GlobalIPv6Address"], there["GlobalIPv6PrefixLen"]) == ("fd00:201:8::7", 64)
    assert there["IPAMConfig"] == address
    assert nets.way_out("cli-both") == "eth1"  # both families come before the name
    nets.container("cli-late", {"cli-four": {}})
    nets.docker("network", "connect", "--ip6", "fd00:201:8::8", "cli-six", "cli-late")
    assert nets.way_out("cli-late") == "eth1"
    assert "1 packets received" in nets.sh("cli-late", "ping -6 -c1 -W2 cli-both")
    nets.docker("network", "disconnect", "cli-six", "cli-late")
    assert "fd00:201:8" not in nets.sh("cli-late", "ip -6 addr")


# Live


def test_connect_and_disconnect_live(nets):
    nets.create("cli-c1")
    nets.create("cli-c2", IPAM={"Config": [{"Subnet": "10.201.5.0/24"}]})
    nets.container("cli-live", {"cli-c1": {}})
    nets.container("cli-peer", {"cli-c2": {}})
    nets.docker("network", "connect", "--ip", "10.201.5.50", "--alias", "al", "cli-c2", "cli-live")
    assert nets.interfaces("cli-live") == ["eth0", "eth1", "lo"]
    assert nets.way_out("cli-live") == "eth0"
    assert "1 packets received" in nets.sh("cli-peer", "ping -c1 -W2 al")
    assert "1 packets received" in nets.sh("cli-live", "ping -c1 -W2 cli-peer")
    there = nets.daemon.json("GET", "/networks/cli-c2")["Containers"]
    assert {one["Name"]: one["IPv4Address"] for one in there.values()}["cli-live"] == "10.201.5.50/24"
    assert message(nets.connect("cli-c2", "cli-live")) == (
        403,
        "endpoint with name cli-live already exists in network cli-c2",
    )
    nets.docker("network", "disconnect", "cli-c1", "cli-live")
    assert nets.interfaces("cli-live") == ["eth1", "lo"]
    assert nets.way_out("cli-live") == "eth1"
    assert set(nets.shown("cli-live")) == {"cli-c2"}
    id = nets.inspect("cli-live")["Id"]
    assert message(nets.disconnect("cli-c1", "cli-live")) == (
        500,
        f"container {id} is not connected to network cli-c1",
    )
    nets.disconnect("cli-c2", "cli-live")
    assert nets.interfaces("cli-live") == ["lo"]
    assert nets.shown("cli-live") == {}
    nets.daemon.json("POST", "/containers/cli-live/restart?t=0")
    assert nets.interfaces("cli-live") == ["lo"]  # it was taken out of all networks, and stays so
    assert nets.connect("cli-c1", "cli-live")[0] == 200
    assert nets.way_out("cli-live") == "eth0"
    assert set(nets.shown("cli-live")) == {"cli-c1"}
    assert "1 packets received" in nets.sh("cli-live", "ping -c1 -W2 cli-live")


def test_from_the_default_network_into_one_with_names(nets):
    nets.create("cli-named")
    nets.container("cli-there", {"cli-named": {}})
    nets.run("cli-plain")
    assert "nameserver 127.0.0.11" not in nets.sh("cli-plain", "cat /etc/resolv.conf")
    assert nets.connect("cli-named", "cli-plain")[0] == 200
    assert "1 packets received" in nets.sh("cli-plain", "ping -c1 -W2 cli-there")
    assert nets.way_out("cli-plain") == "eth0"  # `bridge` comes before `cli-named`
    assert nets.disconnect("cli-named", "cli-plain")[0] == 200
    assert "bad address" in nets.sh("cli-plain", "ping -c1 -W2 cli-there 2>&1 || true")
    assert nets.connect("cli-named", "cli-plain")[0] == 200
    assert "1 packets received" in nets.sh("cli-plain", "ping -c1 -W2 cli-there")


def test_ports_follow_the_way_out(nets, lab):
    nets.create("cli-g1")
    nets.create("cli-g2", IPAM={"Config": [{"Subnet": "10.201.6.0/24"}]})
    bindings = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    nets.container("cli-web", {"cli-g1": {}}, program=SERVER, PortBindings=bindings)
    port = int(nets.inspect("cli-web")["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
    assert answers(lab, port)
    assert nets.connect("cli-g2", "cli-web", GwPriority=10)[0] == 200
    assert nets.way_out("cli-web") == "eth1"
    assert nets.inspect("cli-web")["NetworkSettings"]["Ports"]["80/tcp"] == [
        {"HostIp": "127.0.0.1", "HostPort": str(port)}
    ]
    assert answers(lab, port)
    assert nets.shown("cli-web")["cli-g2"]["GwPriority"] == 10
    assert nets.disconnect("cli-g2", "cli-web")[0] == 200
    assert nets.way_out("cli-web") == "eth0"
    assert answers(lab, port)
    assert nets.disconnect("cli-g1", "cli-web")[0] == 200
    assert (
        lab.run("python3", "-c", f"import socket; socket.socket().bind(('127.0.0.1', {port}))").returncode
        == 0
    )


def test_a_connect_that_cannot_move_the_ports_is_undone(nets, lab):
    nets.create("cli-x1", Internal=True)
    nets.create("cli-x2")
    bindings = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18377"}]}
    nets.container("cli-inside", {"cli-x1": {}}, PortBindings=bindings)  # publishes nothing there
    nets.container("cli-has", {"cli-x2": {}}, PortBindings=bindings)
    status, said = message(nets.connect("cli-x2", "cli-inside"))
    assert status >= 400
    assert "port is already allocated" in said
    assert nets.interfaces("cli-inside") == ["eth0", "lo"]
    assert set(nets.shown("cli-inside")) == {"cli-x1"}
    assert len(nets.daemon.json("GET", "/networks/cli-x2")["Containers"]) == 1


def test_a_connect_whose_names_cannot_be_written_is_undone(nets):
    nets.create("cli-w1")
    nets.run("cli-write", "-p", "127.0.0.1:18378:80")
    tables = nets.daemon.base / "run" / "resolver"
    away = tables.with_name("resolver-away")
    tables.mkdir(mode=0o700, exist_ok=True)
    tables.rename(away)
    tables.write_text("in the way")
    try:
        assert nets.connect("cli-w1", "cli-write", GwPriority=5)[0] >= 400
    finally:
        tables.unlink()
        away.rename(tables)
    assert (nets.interfaces("cli-write"), nets.way_out("cli-write")) == (["eth0", "lo"], "eth0")
    assert set(nets.shown("cli-write")) == {"bridge"}
    assert "18378" in nets.docker("port", "cli-write")
    assert nets.connect("cli-w1", "cli-write", GwPriority=5)[0] == 200
    assert nets.way_out("cli-write") == "eth1"


def test_containers_that_do_not_run(nets):
    nets.create("cli-s1")
    nets.create("cli-s2")
    nets.container("cli-stopped", {"cli-s1": {}}, start=False)
    assert nets.connect("cli-s2", "cli-stopped", Aliases=["later"])[0] == 200
    assert set(nets.shown("cli-stopped")) == {"cli-s1", "cli-s2"}
    assert nets.disconnect("cli-s1", "cli-stopped")[0] == 200
    assert nets.daemon.json("GET", "/networks/cli-s2")["Containers"] == {}
    nets.daemon.json("POST", "/containers/cli-stopped/start")
    assert nets.interfaces("cli-stopped") == ["eth0", "lo"]
    assert nets.shown("cli-stopped")["cli-s2"]["Aliases"] == ["later"]
    nets.connect("cli-s1", "cli-stopped")
    nets.daemon.json("POST", "/containers/cli-stopped/stop?t=0")
    nets.daemon.json("DELETE", "/networks/cli-s2")  # a container that does not run keeps no network
    assert set(nets.shown("cli-stopped")) == {"cli-s1"}
    nets.daemon.json("POST", "/containers/cli-stopped/start")
    assert set(nets.shown("cli-stopped")) == {"cli-s1"}


@pytest.mark.parametrize(
    ("network", "container", "endpoint", "status", "words"),
    [
        ("cli-e1", "cli-eh", {}, 400, SHARED),
        ("cli-e1", "cli-ec", {}, 400, SHARED),
        ("host", "cli-e", {}, 400, HOST_MODE),
        ("none", "cli-e", {}, 400, NONE_MODE),
        ("cli-e1", "cli-no", {}, 404, "No such container: cli-no"),
        ("cli-no", "cli-e", {}, 404, "network cli-no not found"),
        ("cli-e1", "cli-e", {"IPAMConfig": {"IPv4Address": "10.9.9.9"}}, 400, INVALID + NO_SUBNETS),
        ("cli-e2", "cli-e", {"IPAMConfig": {"IPv4Address": "10.9.9.9"}}, 400, INVALID + OUTSIDE),
        ("cli-e2", "cli-e", {"IPAMConfig": {"IPv4Address": "x"}}, 400, INVALID + "invalid IPv4 address: x"),
        ("bridge", "cli-en", {"Aliases": ["x"]}, 400, INVALID + ALIASES),
        ("cli-e2", "cli-e", {"MacAddress": "x"}, 400, "invalid MAC address: x"),
    ],
)  # fmt: skip
def test_refused_connections(refused_lab, network, container, endpoint, status, words):
    assert message(refused_lab.connect(network, container, **endpoint)) == (status, words)


@pytest.fixture(scope="module")
def refused_lab(daemon):
    nets = Networks(daemon)
    nets.create("cli-e1")
    nets.create("cli-e2", IPAM={"Config": [{"Subnet": "10.201.7.0/24"}]})
    nets.run("cli-e")
    nets.run("cli-eh", "--network", "host")
    nets.run("cli-ec", "--network", "container:cli-e")
    nets.container("cli-en", {"cli-e1": {}})
    yield nets
    nets.close()


def test_the_network_of_another_container(refused_lab):
    mine = refused_lab.sh("cli-ec", "ip -o addr show eth0")
    assert mine == refused_lab.sh("cli-e", "ip -o addr show eth0")
    assert refused_lab.shown("cli-ec") == {}
    words = refused_lab.docker("run", "--network", "container:cli-e", "-p", "80:80", IMAGE, code=125)
    assert "conflicting options: port publishing and the container type network mode" in words
    words = refused_lab.disconnect("host", "cli-eh")
    assert message(words)[1].startswith("cannot disconnect container from host network")


def test_links_of_the_default_network(nets):
    nets.run("cli-db", "-e", "PASSWORD=x", "--expose", "5432")
    nets.run("cli-app", "--link", "cli-db:data-base")
    script = "env; ping -c1 -W2 data-base"
    said = nets.docker("exec", "cli-app", "cat", "/proc/1/environ").split("\0")
    address = nets.shown("cli-db")["bridge"]["IPAddress"]
    assert f"DATA_BASE_PORT_5432_TCP_ADDR={address}" in said
    assert "DATA_BASE_ENV_PASSWORD=x" in said
    assert "DATA_BASE_NAME=/cli-app/data-base" in said
    assert "1 packets received" in nets.sh("cli-app", script)
    nets.daemon.json("POST", "/containers/cli-db/stop?t=0")
    nets.run("cli-between")  # takes the address, most likely
    nets.daemon.json("POST", "/containers/cli-db/start")
    address = nets.shown("cli-db")["bridge"]["IPAddress"]
    deadline = time.monotonic() + 5
    while f"{address}\tdata-base" not in (hosts := nets.sh("cli-app", "cat /etc/hosts")):
        assert time.monotonic() < deadline, hosts
        time.sleep(0.05)
    nets.docker("rm", "--link", "/cli-app/data-base")
    assert "data-base" not in nets.sh("cli-app", "cat /etc/hosts")
    nets.daemon.json("POST", "/containers/cli-db/stop?t=0")
    words = nets.docker("run", "--rm", "--link", "cli-db", IMAGE, "true", code=125)
    assert "Cannot link to a non running container: /cli-db AS /cli-db" in words
    assert "could not get container for cli-none" in nets.docker("run", "--link", "cli-none", IMAGE, code=125)


def test_links_and_names_after_a_rename(nets):
    nets.create("cli-names")
    nets.container("cli-old", {"cli-names": {}})
    nets.container("cli-asks", {"cli-names": {"Links": ["cli-old:backend"]}})
    assert "1 packets received" in nets.sh("cli-asks", "ping -c1 -W2 backend")
    nets._containers.append("cli-new")
    nets.daemon.json("POST", "/containers/cli-old/rename?name=cli-new")
    assert "1 packets received" in nets.sh("cli-asks", "ping -c1 -W2 cli-new")
    assert "bad address" in nets.sh("cli-asks", "ping -c1 -W2 cli-old 2>&1 || true")


def test_events(nets):
    since = time.time()
    network = nets.create("cli-ev")
    container = nets.container("cli-evc", {"cli-ev": {}})
    nets.disconnect("cli-ev", "cli-evc")
    nets.connect("cli-ev", "cli-evc")
    nets.daemon.json("DELETE", "/containers/cli-evc?force=1")
    nets.daemon.json("DELETE", "/networks/cli-ev")
    filters = json.dumps({"network": [network]}).replace(" ", "")
    _, body = nets.daemon.request(
        "GET", f"/events?since={since:.6f}&until={time.time():.6f}&filters={filters}"
    )
    found = [json.loads(line) for line in body.splitlines()]
    actions = ["create", "connect", "disconnect", "connect", "disconnect", "destroy"]
    assert [one["Action"] for one in found] == actions
    assert found[0]["Actor"] == {"ID": network, "Attributes": {"name": "cli-ev", "type": "bridge"}}
    assert found[1]["Actor"]["Attributes"] == {"container": container, "name": "cli-ev", "type": "bridge"}


def test_hundreds_of_networks(nets):
    names = [f"cli-h{n}" for n in range(60)]
    for name in names:
        nets.create(name, Labels={"hundreds": ""})
    nets.container("cli-deep", {"cli-h50": {}, "cli-h55": {}})
    assert len(nets.daemon.json("GET", '/networks?filters={"label":["hundreds"]}')) == len(names)
    nets.daemon.json("DELETE", "/containers/cli-deep?force=1")
    gone = nets.daemon.json("POST", '/networks/prune?filters={"label":["hundreds"]}')["NetworksDeleted"]
    assert sorted(gone) == sorted(names)
