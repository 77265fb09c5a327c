"""The DNS server of a container across network namespaces: port 53 inside, served from outside, upstream where it belongs."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest

from barque.shim import resolver_sockets
from barque.shim.resolver_sockets import make_sockets
from barque.testing import need
from barque.testing.lan import fresh_namespace, inside, namespace

sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "shim"))
from resolver_harness import FakeServer, Serving, answering

pytestmark = pytest.mark.root

ADDRESS = resolver_sockets.ADDRESS


@pytest.fixture
def sandbox():
    """A container's namespace, beside the "host" that this thread is in."""
    with fresh_namespace(), namespace() as netns:
        inside(netns, lambda: subprocess.run(["ip", "link", "set", "lo", "up"], check=True))
        yield netns


@pytest.fixture
def serving(sandbox, tmp_path):
    reports = []
    with contextlib.closing(Serving(tmp_path, sockets=make_sockets(sandbox, reports.append))) as one:
        yield one
    assert not reports


def _ask(netns, name, tcp=False):
    query = dns.message.make_query(name, "A")
    function = dns.query.tcp if tcp else dns.query.udp
    reply = inside(netns, lambda: function(query, ADDRESS, timeout=5))
    return [str(item) for rrset in reply.answer for item in rrset]


@pytest.mark.parametrize("tcp", [False, True])
def test_names_are_answered_on_port_53_inside(sandbox, serving, tcp):
    serving.table("net", {"web": ["10.1.0.2"]})
    serving.settings([("net", {})])
    assert _ask(sandbox, "web", tcp) == ["10.1.0.2"]


def _listening(kind):
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("0.0.0.0", 53))
    return sock


def test_the_container_may_have_a_server_on_port_53_of_its_own(sandbox, serving):
    serving.table("net", {"web": ["10.1.0.2"]})
    serving.settings([("net", {})])
    with (
        inside(sandbox, lambda: _listening(socket.SOCK_DGRAM)) as udp,
        inside(sandbox, lambda: _listening(socket.SOCK_STREAM)),
    ):
        assert _ask(sandbox, "web") == ["10.1.0.2"]
        udp.setblocking(False)
        with pytest.raises(BlockingIOError):
            udp.recv(100)
        with inside(sandbox, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.sendto(b"to the container's own", ("127.0.0.1", 53))
        udp.settimeout(5)
        assert udp.recv(100) == b"to the container's own"


def test_nothing_of_it_is_on_the_host(sandbox, serving):
    need.tool("nft")
    command = ["nft", "list", "tables"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""
    shown = inside(
        sandbox, lambda: subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    assert shown == "table ip barque-resolver\n"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((ADDRESS, 53), 1)


def test_made_twice_the_last_has_the_port(sandbox, serving):
    for fd in make_sockets(sandbox, pytest.fail):
        os.close(fd)
    with pytest.raises(OSError, match="refused"):
        inside(sandbox, lambda: socket.create_connection((ADDRESS, 53), 1))


@pytest.mark.parametrize("tcp", [False, True])
def test_the_hosts_servers_are_asked_from_the_host_and_the_users_from_the_container(sandbox, serving, tcp):
    with FakeServer(answering("192.0.2.1")) as on_host:
        serving.settings((), [on_host.entry])
        assert _ask(sandbox, "example.com", tcp) == ["192.0.2.1"]
        serving.settings((), [["sandbox", *on_host.entry[1:]]])
        query = dns.message.make_query("example.com", "A")
        refused = inside(sandbox, lambda: dns.query.udp(query, ADDRESS, timeout=5))
        assert refused.rcode() == dns.rcode.SERVFAIL
        assert not [q for q in on_host.queries if q.question != query.question]
    with inside(sandbox, lambda: FakeServer(answering("192.0.2.2"))) as within:
        serving.settings((), [["sandbox", *within.entry[1:]]])
        assert _ask(sandbox, "example.com", tcp) == ["192.0.2.2"]


def test_without_nat_port_53_itself_is_used_and_that_is_told(sandbox, tmp_path, monkeypatch):
    def missing(*_):
        raise OSError(95, "netfilter: Operation not supported")

    monkeypatch.setattr(resolver_sockets, "translate", missing)
    reports = []
    with contextlib.closing(Serving(tmp_path, sockets=make_sockets(sandbox, reports.append))) as one:
        one.table("net", {"web": ["10.1.0.2"]})
        one.settings([("net", {})])
        assert _ask(sandbox, "web") == ["10.1.0.2"]
        assert _ask(sandbox, "web", True) == ["10.1.0.2"]
    assert [str(report) for report in reports] == ["[Errno 95] netfilter: Operation not supported"]


def test_a_namespace_that_is_none_is_refused(sandbox):
    before = os.readlink("/proc/thread-self/ns/net")
    with socket.socket() as other, pytest.raises(resolver_sockets.FailedPrecondition):
        make_sockets(other.fileno(), pytest.fail)
    assert os.readlink("/proc/thread-self/ns/net") == before
