"""Published ports of a rootless engine: relays between real sockets on loopback, in place of two namespaces."""

import contextlib
import selectors
import socket
import threading
import time

import pytest

from barque.engine.rootless.forwarding import Forwarder, Port
from barque.engine.rootless.relay import DatagramRelay
from barque.spi.errors import BarqueError, Conflict, InvalidArgument, NotFound


class Loop:
    """A forwarder driven by a thread, as the keeper drives it; work for it is done in that thread."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.forwarder = Forwarder(self.selector, self._socket)
        self.made = []
        self._ours, theirs = socket.socketpair()
        self._work, self._done = [], threading.Event()
        self.selector.register(theirs, selectors.EVENT_READ, self._do)
        self._theirs = theirs
        self._running = True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _socket(self, protocol):
        kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[protocol]
        made = socket.socket(socket.AF_INET, kind)
        made.setblocking(False)
        self.made.append(made)
        return made

    def _run(self):
        while self._running:
            for key, mask in self.selector.select():
                key.data(key, mask)

    def _do(self, *_):
        self._theirs.recv(1)
        self._work.pop()()
        self._done.set()

    def do(self, work):
        result = []

        def guarded():
            try:
                result.append(work())
            except BarqueError as error:
                result.append(error)

        self._done.clear()
        self._work.append(guarded)
        self._ours.send(b"x")
        assert self._done.wait(10)
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]

    def publish(self, target, protocol="tcp"):
        (number,) = self.do(lambda: self.forwarder.reserve("e", [Port(protocol, "127.0.0.1", 0)]))
        self.do(lambda: self.forwarder.serve("e", [target]))
        return ("127.0.0.1", number)

    def close(self):
        self.do(lambda: self.forwarder.release("e"))
        self._running = False
        self._work.append(lambda: None)
        self._ours.send(b"x")
        self._thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self._ours.close()
        self.selector.close()


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


def connected(loop, server):
    """A client through the relay, and the server's end."""
    client = socket.create_connection(loop.publish(server.getsockname()), 10)
    target, _ = server.accept()
    target.settimeout(10)
    return client, target


def talk(address):
    with socket.create_connection(address, 10) as client:
        client.sendall(b"x")
        return everything(client)


def everything(sock):
    parts = []
    while data := sock.recv(1 << 16):
        parts.append(data)
    return b"".join(parts)


def test_both_ways_and_each_end_of_speech_by_itself(loop, server):
    client, target = connected(loop, server)
    with client, target:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert everything(target) == b"question"
        target.sendall(b"answer")
        target.shutdown(socket.SHUT_WR)
        assert everything(client) == b"answer"
    deadline = time.monotonic() + 10
    while len(loop.selector.get_map()) > 2:  # the listener and the test's own
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert all(made.fileno() == -1 for made in loop.made)


def test_much_data_to_a_slow_reader_arrives_whole_and_is_not_hoarded(loop, server):
    client, target = connected(loop, server)
    data = bytes(range(256)) * (1 << 16)
    with client, target:
        client.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):  # nobody reads: the relay must stop taking
            while sent < len(data):
                sent += client.send(data[sent:])
        assert sent < len(data)
        client.settimeout(10)
        writer = threading.Thread(
            target=lambda: (client.sendall(data[sent:]), client.shutdown(socket.SHUT_WR))
        )
        writer.start()
        assert everything(target) == data
        writer.join()


def test_nobody_there_is_a_reset(loop):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        gone = closed.getsockname()
    address = loop.publish(gone)
    with pytest.raises(ConnectionError):
        talk(address)


def test_a_reset_of_the_client_reaches_the_container(loop, server):
    client, target = connected(loop, server)
    with target:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        with pytest.raises(ConnectionResetError):
            target.recv(10)


def test_release_gives_the_port_back_and_leaves_connections(loop, server):
    client, target = connected(loop, server)
    address = client.getpeername()
    with client, target:
        loop.do(lambda: loop.forwarder.release("e"))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, 5)
        client.sendall(b"on")
        assert target.recv(10) == b"on"


def test_datagrams_of_two_clients_are_answered_to_each(loop):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
        target.settimeout(10)
        target.bind(("127.0.0.1", 0))
        address = loop.publish(target.getsockname(), "udp")
        clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for number, client in enumerate(clients):
            client.settimeout(10)
            client.sendto(b"from %d" % number, address)
        for _ in clients:
            data, source = target.recvfrom(100)
            target.sendto(b"to " + data[-1:], source)
        for number, client in enumerate(clients):
            assert client.recv(100) == b"to %d" % number
            client.close()


def test_the_idlest_flow_gives_way(monkeypatch):
    monkeypatch.setattr("barque.engine.rootless.relay._MOST_FLOWS", 2)
    with selectors.DefaultSelector() as selector, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outer:
        made = []

        def connect():
            made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            return made[-1]

        relay = DatagramRelay(selector, outer, connect)
        for number in (1, 2, 1, 3):
            relay._flow(("127.0.0.1", number))
        assert [one.fileno() == -1 for one in made] == [False, True, False]
        relay.close()
        assert all(one.fileno() == -1 for one in made)


def test_all_ports_or_none(loop):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = [Port("tcp", "127.0.0.1", 0), Port("tcp", "127.0.0.1", taken)]
        with pytest.raises(Conflict, match=f"127.0.0.1:{taken} failed: port is already allocated"):
            loop.do(lambda: loop.forwarder.reserve("e", ports))
    with pytest.raises(NotFound):
        loop.do(lambda: loop.forwarder.serve("e", []))


@pytest.mark.parametrize(
    "port", [Port("sctp", "127.0.0.1", 1), Port("tcp", "192.0.2.1", 4242), Port("tcp", "127.0.0.1", 70000)]
)
def test_what_cannot_be_bound_is_named(loop, port):
    with pytest.raises(InvalidArgument):
        loop.do(lambda: loop.forwarder.reserve("e", [port]))


def refused(number):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", number), 5)


def test_what_a_new_daemon_does_not_know_is_swept(loop, server):
    """What it published or reserved since it came stays, and so does what is another driver's."""
    address = loop.publish(server.getsockname())
    free = [Port("tcp", "127.0.0.1", 0)]
    (stale,) = loop.do(lambda: loop.forwarder.reserve("x/stale", free))
    (other,) = loop.do(lambda: loop.forwarder.reserve("y/other", free))
    loop.do(loop.forwarder.doubt)
    loop.do(lambda: loop.forwarder.publish("e", [Port("tcp", *address)], [server.getsockname()]))
    (new,) = loop.do(lambda: loop.forwarder.reserve("x/new", free))
    for prefix in ("x/", "e"):
        loop.do(lambda prefix=prefix: loop.forwarder.sweep(prefix))
    refused(stale)
    for number in (other, new):
        socket.create_connection(("127.0.0.1", number), 5).close()
    with socket.create_connection(address, 5):
        server.accept()[0].close()
    for id in ("x/new", "y/other"):
        loop.do(lambda id=id: loop.forwarder.release(id))
