"""HTTP as the client reads it: bodies of every framing, and daemons that misbehave."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from barque.cli.client import Client, query_string
from barque.cli.errors import CliError, DaemonError, DaemonUnavailable
from barque.cli.transport import Connection, quote, segment

Scripted = Callable[..., Client]


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A client whose daemon sends these bytes, cut into pieces, after each request, and then closes."""
    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def make(*answers: bytes, cut: int = 0) -> Client:
        left = list(answers)

        def dial() -> socket.socket:
            ours, theirs = socket.socketpair()
            opened.extend((ours, theirs))
            thread = threading.Thread(target=serve, args=(theirs,))
            threads.append(thread)
            thread.start()
            return ours

        def serve(theirs: socket.socket) -> None:
            with theirs:
                while left and theirs.recv(65536):
                    answer = left.pop(0)
                    for start in range(0, len(answer), cut or len(answer) or 1):
                        theirs.sendall(answer[start : start + (cut or len(answer))])

        return Client(dial, "test")

    yield make
    for sock in opened:
        sock.close()
    for thread in threads:
        thread.join(5)


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n[1,2,3]"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n[1,\r\n4\r\n2,3]\r\n0\r\nTrailer: 1\r\n\r\n"
CLOSED = b"HTTP/1.0 200 OK\r\n\r\n[1,2,3]"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH


@pytest.mark.parametrize(
    "answer", [LENGTH, CHUNKED, CLOSED, CONTINUED], ids=["length", "chunked", "closed", "continued"]
)
@pytest.mark.parametrize("cut", [0, 1, 5])
def test_bodies(scripted: Scripted, answer: bytes, cut: int) -> None:
    client = scripted(answer, cut=cut)
    assert client.get("/x") == [1, 2, 3]
    client.close()


def test_a_connection_is_used_again(scripted: Scripted) -> None:
    client = scripted(LENGTH, CHUNKED, LENGTH)
    assert [client.get("/x") for _ in range(3)] == [[1, 2, 3]] * 3
    client.close()


def test_lines_of_a_stream(scripted: Scripted) -> None:
    body = b'{"a":1}\r\n{"b":\r\n2}'
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:5], body[5:12], body[12:]))
    client = scripted(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n", cut=3)
    assert list(client.stream("GET", "/x").lines()) == [b'{"a":1}', b'{"b":', b"2}"]
    client.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70000, "oversized head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1", "unexpected EOF"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "unexpected EOF"),
    ],
)
def test_a_daemon_that_misbehaves(scripted: Scripted, answer: bytes, words: str) -> None:
    client = scripted(answer)
    with pytest.raises(DaemonUnavailable, match=words):
        client.get("/x")
    client.close()


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        (b'{"message":"no such thing","hint":"look"}', "no such thing", "look"),
        (b'{"message":"no"}', "no", ""),
        (b"plain text\n", "plain text", ""),
        (b"[]", "[]", ""),
        (b"", "HTTP status 500", ""),
    ],
)
def test_errors_of_the_daemon(scripted: Scripted, body: bytes, message: str, hint: str) -> None:
    client = scripted(b"HTTP/1.1 500 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    with pytest.raises(DaemonError) as caught:
        client.get("/x")
    assert (caught.value.reason, caught.value.hint, caught.value.status) == (message, hint, 500)
    client.close()


def test_taking_over_keeps_what_came_early(scripted: Scripted) -> None:
    client = scripted(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\n\r\nearly")
    sock, rest = client.hijack("/attach")
    assert rest + sock.recv(10) == b"early"
    client.close()


def test_queries_and_paths() -> None:
    assert (
        query_string({"a": True, "b": None, "c": False, "d": "", "e": 0, "f": "x y&ü"})
        == "?a=1&e=0&f=x%20y%26%C3%BC"
    )
    assert query_string({}) == ""
    assert query_string([("a", ""), ("a", "1")]) == "?a=&a=1"
    assert quote("a\udcffb") == "a%FFb"
    assert segment("../x?y#z") == "..%2Fx%3Fy%23z"
    assert segment("reg:5000/a/b:c@d", "/:@") == "reg:5000/a/b:c@d"
    with pytest.raises(CliError, match="value is empty"):
        segment(" ")


def test_a_request_line_cannot_be_split() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(LENGTH)
        name = segment("a b\r\nX: y")
        Connection(ours, "test").request("GET", f"/containers/{name}/json", {}, None).read()
        assert theirs.recv(1000).split(b"\r\n")[0] == b"GET /containers/a%20b%0D%0AX%3A%20y/json HTTP/1.1"
