"""Containers find one another by name on networks of the user's: docker CLI, busybox's resolver, dnspython in their namespaces."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import textwrap
import time

import pytest
from registry_image import IMAGE

pytestmark = pytest.mark.root

SLEEP = ("sleep", "100000")

SERVER = textwrap.dedent("""
    import socket, sys, dns.message, dns.rrset
    address, answer = sys.argv[1:]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 53))
    print("ready", flush=True)
    while True:
        data, client = sock.recvfrom(4096)
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query)
        if query.question[0].rdtype == 1:
            reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", answer))
        sock.sendto(reply.to_wire(), client)
""")

ASK = textwrap.dedent("""
    import sys, dns.message, dns.query
    how, kind, *names = sys.argv[1:]
    for name in names:
        query = dns.message.make_query(name, kind)
        reply = (dns.query.tcp if how == "tcp" else dns.query.udp)(query, "127.0.0.11", timeout=8)
        print(reply.rcode(), *sorted(str(item) for rrset in reply.answer for item in rrset))
""")


@pytest.fixture(scope="module")
def names(daemon):
    return Names(daemon)


class Names:
    """Networks and containers by the docker CLI."""

    def __init__(self, daemon):
        self.daemon = daemon

    def docker(self, *arguments):
        done = self.daemon.docker(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @contextlib.contextmanager
    def network(self, name, *options):
        self.docker("network", "create", *options, name)
        try:
            yield name
        finally:
            self.docker("network", "rm", name)

    @contextlib.contextmanager
    def container(self, name, *options, program=SLEEP):
        self.docker("run", "-d", "--name", name, *options, IMAGE, *program)
        try:
            yield name
        finally:
            self.daemon.docker("rm", "-f", "-v", name)

    def address(self, name, network, key="IPAddress"):
        return json.loads(self.docker("inspect", name))[0]["NetworkSettings"]["Networks"][network][key]

    def ask(self, container, *names, kind="A", how="udp"):
        """What dnspython in the container's network namespace gets from 127.0.0.11: a line a name."""
        pid = self.docker("inspect", "-f", "{{.State.Pid}}", container)
        command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", ASK, how, kind, *names]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def exec(self, container, *command):
        return self.docker("exec", container, *command)

    @contextlib.contextmanager
    def server(self, address, answer, pid=""):
        """A DNS server in the lab, where the daemon is, or where the process `pid` is."""
        place = ["nsenter", f"--net=/proc/{pid}/ns/net"] if pid else []
        program = [*place, sys.executable, "-c", SERVER, address, answer]
        command = self.daemon.lab.start(*program, stdout=subprocess.PIPE)
        assert command.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            command.kill()
            command.communicate()


def test_names_aliases_ids_and_hostnames(names):
    with (
        names.network("nm-a"),
        names.container("nm-web", "--network", "nm-a", "--network-alias", "site", "--hostname", "Host-1"),
        names.container("nm-app", "--network", "nm-a", "--network-alias", "site"),
    ):
        web, app = names.address("nm-web", "nm-a"), names.address("nm-app", "nm-a")
        short = names.docker("inspect", "-f", "{{slice .Id 0 12}}", "nm-web")
        found = names.ask("nm-app", "nm-web", "NM-WEB.", "nm-web.nm-a", "host-1", short)
        assert found == [f"0 {web}"] * 5
        assert names.ask("nm-app", "nm-web", "site", how="tcp") == [
            f"0 {web}",
            f"0 {' '.join(sorted([web, app]))}",
        ]
        assert names.ask("nm-app", "nm-web", kind="AAAA") == ["0"]
        reverse = ".".join(reversed(web.split("."))) + ".in-addr.arpa"
        assert names.ask("nm-app", reverse, kind="PTR") == ["0 nm-web.nm-a."]
        assert web in names.exec("nm-app", "nslookup", "-type=a", "nm-web")
        names.exec("nm-app", "ping", "-c1", "-W2", "site")
        resolv = names.exec("nm-app", "cat", "/etc/resolv.conf")
        assert "nameserver 127.0.0.11\n" in resolv
        assert "ndots:0" in resolv


def test_the_default_network_has_no_names(names):
    with names.container("nm-plain", "--network", "bridge"):
        assert "127.0.0.11" not in names.exec("nm-plain", "cat", "/etc/resolv.conf")
        assert not os.path.exists(_state(names, "nm-plain") / "resolver.json")


def _state(names, container):
    id = names.docker("inspect", "-f", "{{.Id}}", container)
    return names.daemon.base / "root" / "containers" / id


def test_names_of_other_networks_are_not_seen(names):
    with (
        names.network("nm-b"), names.network("nm-c"),
        names.container("nm-one", "--network", "nm-b"), names.container("nm-two", "--network", "nm-c"),
        names.container("nm-both", "--network", "nm-b"),
    ):  # fmt: skip
        two = names.address("nm-two", "nm-c")
        assert names.ask("nm-both", "nm-two") == ["2"]
        names.docker("network", "connect", "--alias", "middle", "nm-c", "nm-both")
        assert names.ask("nm-both", "nm-two") == [f"0 {two}"]
        assert names.ask("nm-two", "middle") == [f"0 {names.address('nm-both', 'nm-c')}"]
        hosts = names.exec("nm-both", "cat", "/etc/hosts")
        assert names.address("nm-both", "nm-b") in hosts
        assert names.address("nm-both", "nm-c") in hosts
        names.docker("network", "disconnect", "nm-c", "nm-both")
        assert names.ask("nm-both", "nm-two") == ["2"]
        assert names.ask("nm-two", "middle") == ["2"]
        assert names.exec("nm-both", "cat", "/etc/hosts").count("nm-") == 0


def test_a_container_of_the_default_network_gets_a_resolver_when_it_is_connected(names):
    with (
        names.network("nm-d"),
        names.container("nm-late", "--network", "bridge"),
        names.container("nm-peer", "--network", "nm-d"),
    ):
        names.docker("network", "connect", "nm-d", "nm-late")
        assert names.ask("nm-late", "nm-peer") == [f"0 {names.address('nm-peer', 'nm-d')}"]
        assert "127.0.0.11" in names.exec("nm-late", "cat", "/etc/resolv.conf")
        assert names.address("nm-peer", "nm-d") in names.exec("nm-late", "nslookup", "-type=a", "nm-peer")


def test_links_are_of_one_container(names):
    with (
        names.network("nm-e"),
        names.container("nm-db", "--network", "nm-e"),
        names.container("nm-user", "--network", "nm-e", "--link", "nm-db:store"),
        names.container("nm-other", "--network", "nm-e"),
    ):
        assert names.ask("nm-user", "store") == [f"0 {names.address('nm-db', 'nm-e')}"]
        assert names.ask("nm-other", "store") == ["2"]


def test_the_rest_is_forwarded_to_the_users_servers(names):
    with (
        names.network("nm-f", "--subnet", "10.231.6.0/24", "--gateway", "10.231.6.1"),
        names.server("10.231.6.1", "192.0.2.44"),
        names.container(
            "nm-dns",
            "--network",
            "nm-f",
            "--dns",
            "10.231.6.9",
            "--dns",
            "10.231.6.1",
            "--dns-search",
            "corp.test",
        ),
    ):
        assert names.ask("nm-dns", "example.com") == ["0 192.0.2.44"]
        assert names.ask("nm-dns", "nm-dns") == ["0 " + names.address("nm-dns", "nm-f")]
        assert "search corp.test\n" in names.exec("nm-dns", "cat", "/etc/resolv.conf")


@pytest.mark.row("S39")
def test_an_internal_network_has_no_way_out_by_dns(names):
    with (
        names.network("nm-g", "--internal"),
        names.container("nm-in", "--network", "nm-g"),
        names.container("nm-in2", "--network", "nm-g"),
    ):
        assert names.ask("nm-in", "nm-in2", "secret.example.com") == [
            f"0 {names.address('nm-in2', 'nm-g')}", "2",
        ]  # fmt: skip
        settings = json.loads((_state(names, "nm-in") / "resolver.json").read_text())
        assert settings["servers"] == []


def test_a_container_may_be_the_dns_server_of_others(names):
    """As Pi-hole is: on port 53 of every address of its own, asked from the others' side."""
    subnet = ("--subnet", "10.231.8.0/24")
    with (
        names.network("nm-h", *subnet),
        names.container("nm-hole", "--network", "nm-h", "--ip", "10.231.8.53"),
        names.container("nm-peer2", "--network", "nm-h", "--dns", "10.231.8.53"),
    ):
        pid = names.docker("inspect", "-f", "{{.State.Pid}}", "nm-hole")
        with names.server("0.0.0.0", "192.0.2.53", pid):
            assert names.ask("nm-hole", "nm-peer2") == [f"0 {names.address('nm-peer2', 'nm-h')}"]
            assert names.ask("nm-peer2", "ads.example.com", "nm-hole") == ["0 192.0.2.53", "0 10.231.8.53"]


@pytest.mark.row("S40")
def test_names_with_ipv6(names):
    with (
        names.network("nm-i", "--ipv6", "--subnet", "fd00:231::/64"),
        names.container("nm-six", "--network", "nm-i"),
    ):
        six = names.address("nm-six", "nm-i", "GlobalIPv6Address")
        assert names.ask("nm-six", "nm-six", kind="AAAA") == [f"0 {six}"]
        hosts = names.exec("nm-six", "cat", "/etc/hosts").splitlines()
        assert any(line.split()[0] == six for line in hosts if line)


def test_files_of_a_container_whose_network_is_shared(names):
    with (
        names.network("nm-j"),
        names.container("nm-lend", "--network", "nm-j", "--add-host", "up:host-gateway"),
        names.container("nm-borrow", "--network", "container:nm-lend"),
    ):
        assert names.exec("nm-borrow", "cat", "/etc/hosts") == names.exec("nm-lend", "cat", "/etc/hosts")
        assert names.exec("nm-borrow", "hostname") == names.exec("nm-lend", "hostname")
        gateway = names.address("nm-lend", "nm-j", "Gateway")
        assert f"{gateway}\tup" in names.exec("nm-borrow", "cat", "/etc/hosts")
        assert names.ask("nm-borrow", "nm-lend") == [f"0 {names.address('nm-lend', 'nm-j')}"]


@pytest.mark.row("R1")
def test_names_go_on_while_no_daemon_runs(names):
    daemon = names.daemon
    with (
        names.network("nm-k"),
        names.container("nm-k1", "--network", "nm-k"),
        names.container("nm-k2", "--network", "nm-k"),
    ):
        one, two = names.address("nm-k1", "nm-k"), names.address("nm-k2", "nm-k")
        pid = int(names.docker("inspect", "-f", "{{.State.Pid}}", "nm-k1"))
        other = int(names.docker("inspect", "-f", "{{.State.Pid}}", "nm-k2"))
        daemon.kill()
        try:
            command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", ASK, "udp", "A"]
            done = subprocess.run(
                [*command, "nm-k1", "nm-k2"], capture_output=True, text=True, timeout=60, check=True
            )
            assert done.stdout.splitlines() == [f"0 {one}", f"0 {two}"]
            os.kill(other, 9)  # while nobody looks
        finally:
            daemon.start()
        deadline = time.monotonic() + 10
        while names.ask("nm-k1", "nm-k2") != ["2"] and time.monotonic() < deadline:
            time.sleep(0.1)
        assert names.ask("nm-k1", "nm-k1", "nm-k2") == [f"0 {one}", "2"]
        names.docker("start", "nm-k2")
        assert names.ask("nm-k1", "nm-k2") == [f"0 {names.address('nm-k2', 'nm-k')}"]


def test_rename_and_removal(names):
    with names.network("nm-l"), names.container("nm-l1", "--network", "nm-l"):
        with names.container("nm-l2", "--network", "nm-l"):
            address = names.address("nm-l2", "nm-l")
            names.docker("rename", "nm-l2", "nm-l3")
            assert names.ask("nm-l1", "nm-l3", "nm-l2") == [f"0 {address}", "2"]
            names.docker("rename", "nm-l3", "nm-l2")
        assert names.ask("nm-l1", "nm-l2") == ["2"]
