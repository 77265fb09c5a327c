"""What the daemon writes for name resolution: tables, /etc/hosts, /etc/resolv.conf."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from barque.engine.layout import Layout
from barque.engine.networking import resolvconf
from barque.engine.networking.etcfiles import EtcFiles
from barque.engine.networking.resolvconf import ResolvConf, is_ours, resolv_conf
from barque.engine.networking.resolving import Member, NameService
from barque.shim.resolver_names import Names, Server
from barque.spi.container import ContainerConfig
from barque.spi.errors import InvalidArgument
from barque.spi.network import Endpoint

ONE = Endpoint(
    "e1", "n1", "c1", ipv4="10.1.0.2/24", ipv6="fd00::2/64", gateway4="10.1.0.1", gateway6="fd00::1"
)
TWO = Endpoint("e2", "n2", "c1", ipv4="10.2.0.2/24")


@pytest.fixture(autouse=True)
def host(monkeypatch):
    """A host with a server on its loopback, which containers cannot reach."""
    conf = ResolvConf(("127.0.0.53", "192.0.2.53", "junk"), ("example.com",), ("edns0",))
    monkeypatch.setattr(resolvconf.ResolvConf, "of_host", classmethod(lambda cls: conf))


@pytest.fixture
def layout(tmp_path):
    found = Layout(tmp_path / "root", tmp_path / "run")
    found.make()
    found.container("c1").mkdir()
    return found


@pytest.fixture
def seen(layout):
    """What the shim of c1 makes of the files."""
    state = os.open(layout.container("c1"), os.O_RDONLY)
    names = Names(state)

    def look():
        names.refresh()
        return names

    yield look
    os.close(state)


def test_the_shim_sees_members_links_and_servers(layout, seen):
    service = NameService(layout)
    members = [Member("c1", ("Web", "w"), ("10.1.0.2", "fd00::2")), Member("c2", ("db", "w"), ("10.1.0.3",))]
    service.network_changed("n1", "Front", members)
    service.container_resolves("c1", ContainerConfig("i"), {"n1": {"Store": "db"}}, False)
    assert seen().addresses("web") == ["10.1.0.2", "fd00::2"]
    assert seen().addresses("w.front") == ["10.1.0.2", "fd00::2", "10.1.0.3"]
    assert seen().addresses("store") == ["10.1.0.3"]
    assert seen().name_of("fd00::2") == "Web.Front"
    assert seen().servers() == [Server("host", "127.0.0.53", 53), Server("host", "192.0.2.53", 53)]
    service.network_changed("n1", "Front", members[:1])
    assert seen().addresses("w") == ["10.1.0.2", "fd00::2"]
    assert seen().addresses("store") is None


def test_files_are_nobody_elses_and_whole(layout):
    service = NameService(layout)
    service.network_changed("n1", "net", [])
    service.container_resolves("c1", ContainerConfig("i"), {"n1": {}}, False)
    places = [*(layout.run / "resolver").iterdir(), layout.container("c1") / "resolver.json"]
    assert [path.stat().st_mode & 0o777 for path in places] == [0o600, 0o600]
    assert (layout.run / "resolver").stat().st_mode & 0o777 == 0o700


def test_tables_of_networks_that_are_gone(layout):
    service = NameService(layout)
    service.restore(())
    for id in ("n1", "n2", "n3"):
        service.network_changed(id, id, [])
    service.network_gone("n1")
    service.network_gone("n1")
    service.restore(["n2"])
    assert [path.name for path in (layout.run / "resolver").iterdir()] == ["n2.json"]


@pytest.mark.row("S39")
def test_internal_networks_have_no_servers_of_the_hosts(layout, seen):
    service = NameService(layout)
    service.container_resolves("c1", ContainerConfig("i"), {"n1": {}}, True)
    assert seen().servers() == []
    mine = ContainerConfig("i", dns=("10.1.0.9", "127.0.0.11"))
    service.container_resolves("c1", mine, {"n1": {}}, True)
    assert seen().servers() == [Server("sandbox", "10.1.0.9", 53)]


def test_a_host_without_servers(layout, seen, monkeypatch):
    monkeypatch.setattr(resolvconf.ResolvConf, "of_host", classmethod(lambda cls: cls()))
    NameService(layout).container_resolves("c1", ContainerConfig("i", dns_options=("ndots:2",)), {}, False)
    assert [server.address for server in seen().servers()] == ["8.8.8.8", "8.8.4.4"]
    assert not seen().forwards("bare")


def _resolver_lines(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_resolv_conf_with_and_without_a_resolver():
    plain = resolv_conf(ContainerConfig("i"), host_network=False, resolver=False)
    assert _resolver_lines(plain) == ["nameserver 192.0.2.53", "search example.com", "options edns0"]
    host = resolv_conf(ContainerConfig("i"), host_network=True, resolver=False)
    assert "nameserver 127.0.0.53" in _resolver_lines(host)
    own = resolv_conf(ContainerConfig("i"), host_network=False, resolver=True)
    assert _resolver_lines(own) == ["nameserver 127.0.0.11", "search example.com", "options edns0 ndots:0"]
    assert "# ExtServers: [host(127.0.0.53) host(192.0.2.53) host(junk)]" in own


def test_resolv_conf_of_the_users():
    config = ContainerConfig("i", dns=("10.0.0.9",), dns_search=("a.b", "c"), dns_options=("ndots:3",))
    assert _resolver_lines(resolv_conf(config, False, False)) == [
        "nameserver 10.0.0.9", "search a.b c", "options ndots:3",
    ]  # fmt: skip
    own = resolv_conf(config, False, True)
    assert _resolver_lines(own) == ["nameserver 127.0.0.11", "search a.b c", "options ndots:3"]
    assert "# ExtServers: [10.0.0.9]" in own
    assert (
        "search" not in _resolver_lines(resolv_conf(ContainerConfig("i", dns_search=(".",)), False, True))[1]
    )


def test_an_edited_resolv_conf_is_known():
    text = resolv_conf(ContainerConfig("i"), False, True)
    assert is_ours(text)
    assert not is_ours(text.replace("ndots:0", "ndots:1"))
    assert not is_ours(text + "nameserver 10.0.0.1\n")
    assert not is_ours("")


def test_hosts_of_several_networks_and_live_changes(tmp_path):
    files = EtcFiles(tmp_path)
    config = ContainerConfig("i", domainname="example.com", extra_hosts=("db:10.9.9.9", "six=[fd00::9]"))
    files.write(config, "me", [ONE], False, resolver=True)
    inode = files.hosts.stat().st_ino
    before = files.hosts.read_text()
    assert "10.9.9.9\tdb\n" in before
    assert "fd00::9\tsix\n" in before
    assert before.endswith("10.1.0.2\tme.example.com me\nfd00::2\tme.example.com me\n")
    with files.hosts.open("a") as file:
        file.write("10.7.7.7 mine\n10.8.8.8\tno-newline")
    files.refresh(config, "me", [ONE, TWO], False, resolver=True)
    assert files.hosts.read_text().endswith(
        "10.7.7.7 mine\n10.8.8.8\tno-newline\n"
        "10.1.0.2\tme.example.com me\nfd00::2\tme.example.com me\n10.2.0.2\tme.example.com me\n"
    )
    files.refresh(config, "me", [TWO], False, resolver=True)
    after = files.hosts.read_text()
    assert "10.1.0.2" not in after
    assert after.count("me.example.com") == 1
    assert after.startswith("127.0.0.1\tlocalhost\n")
    assert files.hosts.stat().st_ino == inode


def test_links_in_hosts(tmp_path):
    files = EtcFiles(tmp_path)
    files.write(ContainerConfig("i"), "me", [ONE], False, links=[("10.1.0.3", ["db", "c2", "0123", "db"])])
    assert "10.1.0.3\tdb c2 0123\n" in files.hosts.read_text()
    files.refresh(ContainerConfig("i"), "me", [ONE], False, links=[("10.1.0.4", ["db", "c2", "0123"])])
    assert "10.1.0.3" not in files.hosts.read_text()
    assert "10.1.0.4\tdb c2 0123\n" in files.hosts.read_text()


def test_a_live_change_leaves_an_edited_resolv_conf(tmp_path):
    files = EtcFiles(tmp_path)
    files.write(ContainerConfig("i"), "me", [ONE], False)
    files.refresh(ContainerConfig("i"), "me", [ONE], False, resolver=True)
    assert "127.0.0.11" in files.resolv_conf.read_text()
    files.resolv_conf.write_text("nameserver 10.0.0.1\n")
    files.refresh(ContainerConfig("i"), "me", [ONE], False, resolver=True)
    assert files.resolv_conf.read_text() == "nameserver 10.0.0.1\n"


@pytest.mark.row("R41")
def test_what_a_container_wrote_is_neither_loaded_nor_decoded(tmp_path):
    files = EtcFiles(tmp_path)
    files.write(ContainerConfig("i"), "me", [ONE], False)
    files.hosts.write_bytes(b"\xff\xfe\n")
    files.refresh(ContainerConfig("i"), "me", [TWO], False)
    assert files.hosts.read_bytes() == b"\xff\xfe\n10.2.0.2\tme\n"
    os.truncate(files.hosts, 2 << 30)
    files.refresh(ContainerConfig("i"), "me", [ONE], False)
    assert files.hosts.stat().st_size == 2 << 30


def test_host_gateway(tmp_path):
    files = EtcFiles(tmp_path)
    config = ContainerConfig("i", extra_hosts=("up:host-gateway",))
    files.write(config, "me", [ONE], False)
    assert "10.1.0.1\tup\nfd00::1\tup\n" in files.hosts.read_text()
    files.write(config, "me", [], True)
    assert files.hosts.read_text() == Path("/etc/hosts").read_text() + "127.0.0.1\tup\n"
    with pytest.raises(InvalidArgument, match="unable to derive the IP value for host-gateway"):
        files.write(config, "me", [TWO], False)


def test_names_in_json_are_compact(layout):
    NameService(layout).network_changed("n1", "net", [Member("c1", ("a",), ("10.0.0.2",))])
    text = (layout.run / "resolver" / "n1.json").read_text()
    assert json.loads(text) == {"name": "net", "names": {"a": ["10.0.0.2"]}, "addresses": {"10.0.0.2": "a"}}
    assert " " not in text


@pytest.mark.parametrize(
    ("hostname", "domainname", "names"),
    [
        ("web", "", "web"),
        ("web", "example.com", "web.example.com web"),
        ("web.example.com", "", "web.example.com web"),
        ("web.example.com", "org", "web.example.com.org web"),
    ],
)
def test_the_hostname_alone_and_the_qualified_name(tmp_path, hostname, domainname, names):
    """As dockerd: `hostname -f` finds the name with its domain in /etc/hosts."""
    files = EtcFiles(tmp_path)
    files.write(ContainerConfig("i", domainname=domainname), hostname, (TWO,), False)
    assert files.hostname.read_text() == f"{hostname}\n"
    assert files.hosts.read_text().endswith(f"\n10.2.0.2\t{names}\n")
    files.refresh(ContainerConfig("i", domainname=domainname), hostname, (ONE,), False)
    assert "10.2.0.2" not in files.hosts.read_text()
    assert f"10.1.0.2\t{names}\nfd00::2\t{names}\n" in files.hosts.read_text()
