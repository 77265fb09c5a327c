"""The shim's DNS server: names from the daemon's tables, everything else from servers, nothing hostile in between."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
import time

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.reversename
import dns.rrset
import pytest
from resolver_harness import WAIT, FakeServer, Serving, answering

from barque.shim import resolver
from barque.shim.resolver_names import reverse_address
from barque.shim.resolver_wire import Malformed, answers_to, encode_name, parse


@pytest.fixture
def serving(tmp_path):
    one = Serving(tmp_path)
    yield one
    one.close()


@pytest.fixture
def shop(serving):
    """A network with three containers, two of them with one alias; one has IPv6, too."""
    names = {
        "web": ["10.1.0.2", "fd00::2"],
        "db": ["10.1.0.3"],
        "app": ["10.1.0.2", "10.1.0.3", "10.1.0.4"],
        "a.b": ["10.1.0.9"],
    }
    serving.table("Shop", names, {"10.1.0.2": "web", "fd00::2": "web"})
    serving.settings([("Shop", {"store": "db"})])
    return serving


@pytest.mark.parametrize("tcp", [False, True])
def test_addresses_of_both_families(shop, tcp):
    assert shop.addresses("web", tcp=tcp) == ["10.1.0.2"]
    assert shop.addresses("web", "AAAA", tcp=tcp) == ["fd00::2"]
    assert sorted(shop.addresses("web", "ANY", tcp=tcp)) == ["10.1.0.2", "fd00::2"]


@pytest.mark.parametrize("name", ["WEB", "Web.", "web.shop", "WEB.Shop."])
def test_names_in_any_case_and_with_the_network(shop, name):
    reply = shop.ask(name)
    assert [str(item) for item in reply.answer[0]] == ["10.1.0.2"]
    assert reply.flags & dns.flags.AA
    assert reply.flags & dns.flags.RA


def test_a_name_with_dots(shop):
    assert shop.addresses("a.b") == ["10.1.0.9"]


def test_a_family_the_name_has_not_is_no_error(shop):
    reply = shop.ask("db", "AAAA")
    assert reply.rcode() == dns.rcode.NOERROR
    assert not reply.answer
    assert shop.ask("db", "MX").rcode() == dns.rcode.NOERROR


def test_links_are_names_of_this_container(shop):
    assert shop.addresses("store") == ["10.1.0.3"]
    assert shop.addresses("store.shop") == ["10.1.0.3"]
    shop.table("Shop", {"db": ["10.1.0.3"], "0123456789ab": ["10.1.0.3"]})
    shop.settings([("Shop", {"store": "0123456789AB" + "c" * 52, "gone": "nobody"})])
    assert shop.addresses("store") == ["10.1.0.3"]
    assert shop.ask("gone").rcode() == dns.rcode.SERVFAIL


def test_one_alias_of_several_has_turns(shop):
    firsts = {next(iter(shop.addresses("app"))) for _ in range(60)}
    assert firsts == {"10.1.0.2", "10.1.0.3", "10.1.0.4"}


@pytest.mark.parametrize("address", ["10.1.0.2", "fd00::2"])
def test_reverse(shop, address):
    assert shop.addresses(dns.reversename.from_address(address), "PTR") == ["web.Shop."]


def test_a_name_in_two_networks_has_all_addresses(shop):
    shop.table("back", {"web": ["10.2.0.2"], "db": ["10.1.0.3"]})
    shop.settings([("Shop", {}), ("back", {})])
    assert sorted(shop.addresses("web")) == ["10.1.0.2", "10.2.0.2"]
    assert shop.addresses("db") == ["10.1.0.3"]
    assert shop.addresses("web.back") == ["10.2.0.2"]


def test_tables_are_read_again_when_they_change(shop):
    shop.table("Shop", {"web": ["10.1.0.77"]})
    assert shop.addresses("web") == ["10.1.0.77"]
    assert shop.ask("db").rcode() == dns.rcode.SERVFAIL
    (shop.directory / "Shop.json").unlink()
    assert shop.addresses("web") == ["10.1.0.77"]
    (shop.directory / "resolver.json").write_text("{")
    assert shop.addresses("web") == ["10.1.0.77"]


def test_many_addresses_are_cut_and_come_over_tcp(serving):
    serving.table("n", {"many": [f"10.3.0.{number}" for number in range(1, 101)]})
    serving.settings([("n", {})])
    cut = serving.ask("many")
    assert cut.flags & dns.flags.TC
    assert not cut.answer
    assert len(serving.addresses("many", use_edns=0, payload=4096)) == 100
    assert len(serving.addresses("many", tcp=True)) == 100


def test_edns_is_answered_with_edns(shop):
    assert shop.ask("web", use_edns=0, payload=1232).edns == 0
    assert shop.ask("web").edns == -1


@pytest.mark.row("S39")
def test_without_servers_nothing_is_forwarded(shop):
    assert shop.ask("example.com").rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize("tcp", [False, True])
def test_the_rest_is_forwarded(shop, tcp):
    with FakeServer(answering("192.0.2.7")) as server:
        shop.settings([("Shop", {})], [server.entry])
        for _ in range(8):
            assert shop.addresses("Example.com", tcp=tcp) == ["192.0.2.7"]
        assert shop.addresses("web", tcp=tcp) == ["10.1.0.2"]
        assert len(server.queries) == 8
        assert len({query.id for query in server.queries}) > 4
        assert len(set(server.sources)) > 4


def test_other_types_are_forwarded(shop):
    with FakeServer(answering('"text"', kind="TXT")) as server:
        shop.settings([("Shop", {})], [server.entry])
        assert shop.addresses("example.com", "TXT") == ['"text"']


def test_reverse_of_strangers_is_forwarded(shop):
    with FakeServer(answering("host.example.", kind="PTR")) as server:
        shop.settings([("Shop", {})], [server.entry])
        assert shop.addresses(dns.reversename.from_address("192.0.2.1"), "PTR") == ["host.example."]


@pytest.mark.parametrize("code", [dns.rcode.NXDOMAIN, dns.rcode.NOERROR])
def test_an_answer_of_nothing_is_an_answer(shop, code):
    with FakeServer(answering(code=code)) as server, FakeServer(answering("192.0.2.1")) as second:
        shop.settings([("Shop", {})], [server.entry, second.entry])
        reply = shop.ask("nowhere.example")
        assert reply.rcode() == code
        assert not reply.answer
        assert not second.queries


def test_the_next_server_is_asked_after_failures(shop):
    with (
        FakeServer(answering(code=dns.rcode.SERVFAIL)) as broken,
        FakeServer(answering(code=dns.rcode.REFUSED)) as unwilling,
        FakeServer(answering("192.0.2.9")) as good,
    ):
        shop.settings([("Shop", {})], [broken.entry, unwilling.entry, good.entry])
        assert shop.addresses("example.com") == ["192.0.2.9"]


def test_the_next_server_is_asked_after_silence_and_closed_ports(shop):
    with FakeServer(lambda query, tcp: None) as silent, FakeServer(answering("192.0.2.9")) as good:
        closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        closed.close()
        shop.settings([("Shop", {})], [["host", "127.0.0.1", port], silent.entry, good.entry])
        begun = time.monotonic()
        assert shop.addresses("example.com") == ["192.0.2.9"]
        assert time.monotonic() - begun < 9
        assert shop.addresses("web") == ["10.1.0.2"]


def test_when_all_fail_the_answer_says_so(shop):
    with FakeServer(answering(code=dns.rcode.SERVFAIL)) as broken:
        shop.settings([("Shop", {})], [broken.entry])
        assert shop.ask("example.com").rcode() == dns.rcode.SERVFAIL


def test_forged_answers_are_passed_over(shop):
    def reply(query, tcp):
        good = answering("192.0.2.1")(query, tcp)
        forged = answering("203.0.113.66")(query, tcp)
        forged.id ^= 1
        other = answering("203.0.113.66")(dns.message.make_query("other.example", "A", id=query.id), tcp)
        asked_back = dns.message.make_query(query.question[0].name, "A", id=query.id)
        return [b"", b"x", forged, other, asked_back, good]

    with FakeServer(reply) as server:
        shop.settings([("Shop", {})], [server.entry])
        assert shop.addresses("example.com") == ["192.0.2.1"]


def test_a_long_answer_is_cut_for_a_client_that_cannot_take_it(shop):
    with FakeServer(answering(*(f"192.0.2.{n}" for n in range(1, 200)))) as server:
        shop.settings([("Shop", {})], [server.entry])
        assert shop.ask("example.com").flags & dns.flags.TC
        assert len(shop.addresses("example.com", tcp=True)) == 199


def test_with_ndots_of_the_users_bare_names_are_not_forwarded(shop):
    with FakeServer(answering("192.0.2.1")) as server:
        shop.settings([("Shop", {})], [server.entry], ndots=True)
        assert shop.ask("bare").rcode() == dns.rcode.NOERROR
        assert shop.addresses("bare") == []
        assert shop.addresses("bare.example") == ["192.0.2.1"]


@pytest.mark.row("R41")
def test_hostile_datagrams_do_no_harm(shop):
    generator = random.Random(7)
    good = dns.message.make_query("web", "A", use_edns=0).to_wire()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", shop.port))
        for number in range(3000):
            if number % 50 == 49:
                assert shop.addresses("web") == [
                    "10.1.0.2"
                ]  # and it keeps pace: nothing is dropped for want of room
            data = bytearray(good if number % 2 else generator.randbytes(generator.randrange(0, 600)))
            for _ in range(generator.randrange(4)):
                if data:
                    data[generator.randrange(len(data))] = generator.randrange(256)
            client.send(bytes(data[: generator.randrange(len(data) + 1)]) if number % 5 == 0 else bytes(data))
    assert shop.addresses("web") == ["10.1.0.2"]
    assert not shop.defects


def test_a_flood_does_not_take_the_shims_time(shop, monkeypatch):
    """The shim's other work goes on, and its own time is bounded, however fast the container asks."""
    monkeypatch.setattr(resolver, "_A_TICK", 100)
    query, done = dns.message.make_query("web", "A").to_wire(), threading.Event()
    deadline = time.monotonic() + 0.6
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", shop.port))
        client.settimeout(0)
        answers = 0
        shop.loop.later(0.2, done.set)
        while time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                client.send(query)
                answers += bool(client.recv(4096))
    assert done.is_set()
    assert 100 <= answers <= 1000
    assert shop.addresses("web", tcp=True) == ["10.1.0.2"]


def test_a_flood_over_tcp_does_not_either(shop, monkeypatch):
    monkeypatch.setattr(resolver, "_A_TICK", 100)
    wire = dns.message.make_query("web", "A").to_wire()
    asked = struct.pack(">H", len(wire)) + wire
    with socket.create_connection(("127.0.0.1", shop.port), WAIT) as client:
        client.sendall(asked * 1500)
        time.sleep(0.55)
        client.settimeout(0)
        answers = len(client.recv(1 << 20)) // (len(asked) + 16)
    assert 100 <= answers <= 800
    assert shop.addresses("web") == ["10.1.0.2"]


@pytest.mark.row("R41")
def test_a_client_that_asks_and_does_not_read_has_little_held_for_it(serving):
    """2900 questions in one packet of 64 KiB, each with an answer of 32 KiB; and the loop is free for others between them."""
    serving.table("Shop", {"many": [f"10.1.{n >> 8}.{n & 255}" for n in range(2000)], "web": ["10.1.0.2"]})
    serving.settings([("Shop", {})])
    wire = dns.message.make_query("many", "A").to_wire()
    clients = []
    try:
        for _ in range(2):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", serving.port))
            client.sendall((struct.pack(">H", len(wire)) + wire) * 2900)
            clients.append(client)
        begun = time.monotonic()
        assert serving.addresses("web") == ["10.1.0.2"]
        assert time.monotonic() - begun < 2
        held, deadline = [0], time.monotonic() + WAIT
        while not any(held) and time.monotonic() < deadline:
            time.sleep(0.1)
            held = [len(connection._out) for connection in tuple(serving.resolver._connections)]
    finally:
        for client in clients:
            client.close()
    assert 0 < max(held) < 1 << 20


@pytest.mark.row("R41")
def test_of_clients_that_come_and_go_nothing_stays(shop):
    """Neither what they sent nor a timer each: a shim's memory is not on the container's account."""
    shop.addresses("web")
    for _ in range(8):
        with socket.create_connection(("127.0.0.1", shop.port), WAIT) as client:
            client.sendall(b"\xff\xff" + bytes(60000))
    assert shop.addresses("web", tcp=True) == ["10.1.0.2"]
    deadline = time.monotonic() + WAIT
    while shop.resolver._connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(shop.loop._timers) <= 2


@pytest.mark.row("R41")
def test_an_idle_client_is_closed(shop, monkeypatch):
    monkeypatch.setattr(resolver, "_IDLE_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", shop.port), WAIT) as client:
        client.settimeout(WAIT)
        assert client.recv(1) == b""


@pytest.mark.row("R41")
def test_a_server_that_sends_no_message_for_ever_is_left(shop):
    with socket.create_server(("127.0.0.1", 0)) as evil:
        shop.settings([("Shop", {})], [["host", "127.0.0.1", evil.getsockname()[1]]])
        sent = []

        def pour():
            client, _ = evil.accept()
            with client, contextlib.suppress(OSError):
                while len(sent) < 10000:
                    client.sendall(bytes(1 << 16))
                    sent.append(1)

        thread = threading.Thread(target=pour)
        thread.start()
        begun = time.monotonic()
        assert shop.ask("www.example.com", tcp=True).rcode() == dns.rcode.SERVFAIL
        assert time.monotonic() - begun < 2.5  # at once: not when the server's time is over
        thread.join(WAIT)
    assert len(sent) < 200


@pytest.mark.row("R41")
def test_hostile_streams_do_no_harm(shop):
    generator = random.Random(8)
    clients = []
    try:
        for number in range(80):
            client = socket.create_connection(("127.0.0.1", shop.port), WAIT)
            clients.append(client)
            client.send(
                [b"\0", b"\0\5hello", b"\xff\xff" + generator.randbytes(500), b"\0\0" * 50][number % 4]
            )
        assert shop.addresses("web", tcp=True) == ["10.1.0.2"]
    finally:
        for client in clients:
            client.close()
    assert shop.addresses("web") == ["10.1.0.2"]


def test_pipelined_questions_are_all_answered(shop):
    queries = [dns.message.make_query("web", "A") for _ in range(100)]
    with socket.create_connection(("127.0.0.1", shop.port), WAIT) as client:
        wires = [query.to_wire() for query in queries]
        client.sendall(b"".join(struct.pack(">H", len(wire)) + wire for wire in wires))
        with client.makefile("rb") as stream:
            ids = {dns.message.from_wire(_framed(stream)).id for _ in queries}
    assert ids == {query.id for query in queries}


def _framed(stream):
    return stream.read(struct.unpack(">H", stream.read(2))[0])


def test_queries_under_way_are_bounded(shop):
    with FakeServer(lambda query, tcp: None) as silent:
        shop.settings([("Shop", {})], [silent.entry])
        before = len(os.listdir("/proc/self/fd"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", shop.port))
            client.settimeout(WAIT)
            for number in range(600):
                client.send(dns.message.make_query(f"n{number}.example", "A").to_wire())
                if number % 50 == 0:
                    assert shop.addresses("web") == ["10.1.0.2"]
            assert dns.message.from_wire(client.recv(4096)).rcode() == dns.rcode.SERVFAIL
            assert len(os.listdir("/proc/self/fd")) - before < 300
        assert shop.addresses("web") == ["10.1.0.2"]


def test_unknown_operations_and_several_questions_are_refused(shop):
    update = bytearray(dns.message.make_query("web", "A").to_wire())
    update[2] |= 5 << 3
    assert _raw(shop, bytes(update)).rcode() == dns.rcode.NOTIMP
    two = bytearray(dns.message.make_query("web", "A").to_wire())
    two[5] = 2
    assert _raw(shop, bytes(two)).rcode() == dns.rcode.FORMERR


def _raw(serving, data):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", serving.port))
        client.settimeout(WAIT)
        client.send(data)
        return dns.message.from_wire(client.recv(4096))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 11,
        dns.message.make_query("web", "A", id=7).to_wire()[:-1],
        b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"\xc0\x0c\0\1\0\1",
        b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"\x3f" + b"a" * 63 * 5,
        b"\0\1\1\0\0\1\0\0\0\0\0\0" + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",
        b"\0\1\1\0\0\1\0\0\0\0\xff\xff" + b"\0\0\1\0\1",
        b"\0\1\1\0\0\1\0\0\0\0\0\1" + b"\0\0\1\0\1" + b"\0\0\x29",
    ],
)
def test_malformed_messages_are_told_apart(data):
    with pytest.raises(Malformed):
        parse(data)


def test_answers_must_be_to_the_question():
    query = dns.message.make_query("web.example", "A")
    question = parse(query.to_wire())
    response = dns.message.make_response(query)
    assert answers_to(response.to_wire(), query.id, question) == dns.rcode.NOERROR
    assert answers_to(response.to_wire().replace(b"web", b"WEB"), query.id, question) == dns.rcode.NOERROR
    assert answers_to(response.to_wire(), query.id ^ 1, question) == -1
    assert answers_to(query.to_wire(), query.id, question) == -1
    assert answers_to(response.to_wire()[:-3], query.id, question) == -1


def test_names_that_fit_no_message():
    assert encode_name("a.b") == b"\1a\1b\0"
    assert not encode_name("a..b")
    assert not encode_name("x" * 64)
    assert not encode_name(".".join(["x" * 60] * 5))


@pytest.mark.parametrize(
    "name", ["1.2.3.in-addr.arpa", "256.1.1.1.in-addr.arpa", "a.b.c.d.in-addr.arpa", "f.ip6.arpa", "x" * 3]
)
def test_reverse_names_of_nothing(name):
    assert reverse_address(name) is None
