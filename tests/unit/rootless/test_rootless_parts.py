"""The small parts of a rootless engine: cgroups, profile, ids, published ports around a driver, who is left."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from barque.engine.host import CGROUP_PARENT, Host
from barque.engine.rootless import publishing, survivors
from barque.engine.rootless.cgroups import delegated_parent
from barque.engine.rootless.publishing import PublishingNetwork
from barque.profiles.loading import load_profile, parse_profile
from barque.shim import namespace_ids
from barque.spi.errors import Conflict, InvalidArgument
from barque.spi.network import (
    Attachment,
    Endpoint,
    EndpointSpec,
    NetworkCapability,
    NetworkSpec,
    PortBinding,
)

# -- cgroups


@pytest.fixture
def hierarchy(tmp_path):
    (tmp_path / "cgroup.controllers").touch()
    above = tmp_path / "user.slice/app.slice"
    above.mkdir(parents=True)
    (above / "cgroup.procs").touch()
    (tmp_path / "membership").write_text("0::/user.slice/app.slice/barque.service\n")
    return tmp_path


def parent(hierarchy):
    return delegated_parent(str(hierarchy), str(hierarchy / "membership"))


def test_containers_are_beside_the_daemons_cgroup(hierarchy):
    assert parent(hierarchy) == "/user.slice/app.slice/barque"


def test_no_cgroups_where_processes_cannot_be_moved(hierarchy):
    (hierarchy / "user.slice/app.slice/cgroup.procs").unlink()
    assert parent(hierarchy) == ""


def test_no_cgroups_on_version_1_or_at_the_top(hierarchy):
    (hierarchy / "membership").write_text("0::/\n")
    assert parent(hierarchy) == ""
    (hierarchy / "cgroup.controllers").unlink()
    assert parent(hierarchy) == ""


def test_path_of_a_container(monkeypatch):
    ordinary = Host.look()
    assert (ordinary.cgroup_parent, ordinary.warnings) == (CGROUP_PARENT, ())
    assert ordinary.cgroups_path("", "c1") == "/barque/c1"
    assert ordinary.cgroups_path("mine", "c1") == "/mine/c1"
    monkeypatch.setattr("barque.engine.host.delegated_parent", lambda: "")
    rootless = Host.look(rootless=True, warnings=("one",))
    assert rootless.cgroups_path("", "c1") == ""
    assert rootless.cgroups_path("/mine/", "c1") == "/mine/c1"
    assert rootless.warnings[0] == "one"
    assert "--memory" in rootless.warnings[1]


# -- profile


def test_the_built_in_profile_is_rootless_and_no_other():
    rootless = load_profile("rootless")
    assert (rootless.rootless.uplink, rootless.rootless.host_loopback) == ("auto", False)
    assert load_profile("default").rootless is None
    assert replace_name(rootless) == replace_name(load_profile("default"))


def replace_name(profile):
    return profile.model_copy(update={"name": "", "description": "", "rootless": None})


def test_a_wrong_uplink_is_named():
    text = '[rootless]\nuplink = "vpnkit"\n'
    with pytest.raises(InvalidArgument, match=r"rootless.uplink: .*'pasta'"):
        parse_profile("x", text, "x.toml")


# -- ids


def test_on_the_hosts_own_namespace_every_id_exists(monkeypatch, tmp_path):
    namespace_ids.check_exists(0, 2**32 - 2)
    map_file = tmp_path / "map"
    map_file.write_text("         0       1000          1\n         1     100000      65536\n")
    assert namespace_ids._mapped(65536, str(map_file))
    assert not namespace_ids._mapped(65537, str(map_file))
    assert namespace_ids._mapped(5, str(tmp_path / "none"))


def test_an_id_that_nobody_has_is_refused(monkeypatch):
    monkeypatch.setattr(namespace_ids, "_mapped", lambda id, path: id == 0 or "uid" in path)
    with pytest.raises(InvalidArgument, match="group 12 does not exist in the user namespace"):
        namespace_ids.check_exists(7, 12)


# -- published ports


class FakeDriver:
    """The inner driver: takes what it is asked for, and remembers it."""

    name = "bridge"
    capabilities = frozenset({NetworkCapability.PORTS})

    def __init__(self):
        self._registry, self.loaded = self, self
        self.calls = []
        self.error = None

    def call(self, _loaded, hook, **arguments):
        self.calls.append((hook, arguments))
        if self.error:
            raise self.error
        if hook == "network_attach":
            spec = arguments["spec"]
            endpoint = Endpoint(spec.id, spec.network.id, "c", ipv4="172.17.0.5/16", ports=spec.ports)
            return Attachment(endpoint)
        return None


class FakeKeeper:
    """Gives out port 4000 where any will do; `asked` are the requests."""

    def __init__(self):
        self.asked = []

    def ask(self, request):
        self.asked.append(request)
        return {"ports": [port[2] or 4000 for port in request.get("ports", ())]}


@pytest.fixture
def network():
    keeper = FakeKeeper()
    driver = FakeDriver()
    return PublishingNetwork(driver, keeper), driver, keeper


def spec(*ports, **options):
    return EndpointSpec("e1", NetworkSpec("n1", "bridge", **options), "c", ports=ports)


def test_ports_are_taken_outside_first_and_served_when_the_address_is_known(network):
    publishing_network, driver, keeper = network
    ports = (
        PortBinding(80),
        PortBinding(53, "udp", "192.0.2.1", 5353),
        PortBinding(81, "tcp", "127.0.0.2", 81),
    )
    attachment = publishing_network.attach(spec(*ports), None)
    wanted = [("tcp", "0.0.0.0", 0), ("udp", "192.0.2.1", 5353), ("tcp", "127.0.0.2", 81)]
    targets = [("172.17.0.5", 80), ("172.17.0.5", 53), ("172.17.0.5", 81)]
    assert keeper.asked == [
        {"op": "reserve", "id": "bridge/e1", "ports": wanted},
        {"op": "serve", "id": "bridge/e1", "targets": targets},
    ]
    inner = driver.calls[0][1]["spec"].ports
    assert [(p.host_ip, p.host_port) for p in inner] == [
        ("0.0.0.0", 4000),
        ("0.0.0.0", 5353),
        ("127.0.0.2", 81),
    ]
    shown = attachment.endpoint.ports
    assert [(p.host_ip, p.host_port) for p in shown] == [
        ("0.0.0.0", 4000),
        ("192.0.2.1", 5353),
        ("127.0.0.2", 81),
    ]


def test_the_networks_default_address_counts(network):
    publishing_network, _, keeper = network
    options = {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}
    publishing_network.attach(spec(PortBinding(80), options=options), None)
    assert keeper.asked[0]["ports"] == [("tcp", "127.0.0.1", 0)]


def test_a_failed_attach_gives_the_ports_back(network):
    publishing_network, driver, keeper = network
    driver.error = Conflict("no address left")
    with pytest.raises(Conflict, match="no address left"):
        publishing_network.attach(spec(PortBinding(80)), None)
    assert keeper.asked[-1] == {"op": "release", "id": "bridge/e1"}


def test_nothing_is_published_of_an_internal_network(network):
    publishing_network, _, keeper = network
    publishing_network.attach(spec(PortBinding(80), internal=True), None)
    publishing_network.attach(spec(), None)
    assert keeper.asked == []


def test_a_new_daemon_asserts_what_is_left(network):
    publishing_network, driver, keeper = network
    with_ports = Endpoint(
        "e1", "n1", "c", ipv4="172.17.0.5/16", ports=(PortBinding(80, "tcp", "192.0.2.1", 8080),)
    )
    without = replace(with_ports, id="e2", ports=())
    publishing_network.restore((), (with_ports, without))
    assert keeper.asked == [
        {
            "op": "publish",
            "id": "bridge/e1",
            "ports": [("tcp", "192.0.2.1", 8080)],
            "targets": [("172.17.0.5", 80)],
        },
        {"op": "sweep", "prefix": "bridge/"},
    ]
    inner = driver.calls[0][1]["endpoints"][0].ports
    assert inner[0].host_ip == "0.0.0.0"
    publishing_network.detach(without)
    publishing_network.detach(with_ports)
    assert keeper.asked[2:] == [{"op": "release", "id": "bridge/e1"}]
    assert publishing._inner_address("::1") == "0.0.0.0"


# -- who is left


@pytest.fixture
def elsewhere():
    """A process in a user, mount and network namespace of its own."""
    code = "import time; print('up', flush=True); time.sleep(100)"
    process = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "--net", sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if process.stdout.readline() != b"up\n":
        pytest.skip(f"no user namespaces here: {process.communicate()[1]}")
    yield process
    process.kill()
    process.communicate()


def test_somebody_is_found_until_he_ends(elsewhere):
    namespace = os.open(f"/proc/{elsewhere.pid}/ns/user", os.O_RDONLY)
    try:
        assert survivors.somebody_in(namespace, {elsewhere.pid}) is None
        found = survivors.somebody_in(namespace, {0})
        assert found is not None
        os.close(found)
        elsewhere.kill()
        os.waitid(os.P_PID, elsewhere.pid, os.WEXITED | os.WNOWAIT)
        assert survivors.somebody_in(namespace, {0}) is None  # not even a zombie counts
    finally:
        os.close(namespace)


def test_noted_namespaces_are_found_again(elsewhere, tmp_path):
    note = tmp_path / "note"
    fds = {name: os.open(f"/proc/{elsewhere.pid}/ns/{name}", os.O_RDONLY) for name in ("user", "mnt", "net")}
    survivors.note_namespaces(note, fds)
    found = survivors.find_namespaces(note)
    assert {name: os.fstat(fd).st_ino for name, fd in found.items()} == {
        name: os.fstat(fd).st_ino for name, fd in fds.items()
    }
    for fd in (*fds.values(), *found.values()):
        os.close(fd)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"user": 1}', '{"user": "x", "mnt": 1, "net": 1}', '{"user": 1, "mnt": 1, "net": 1}']
)
def test_a_note_that_says_nothing(tmp_path, text):
    note = tmp_path / "note"
    assert survivors.find_namespaces(note) is None
    note.write_text(text)
    assert survivors.find_namespaces(note) is None
