"""`GET /containers/{id}/attach/ws` by a client of its own making, with an engine in memory behind it."""

import time

import pytest
from api_fake_engine import frame

from barque.testing.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WebSocket

QUERY = "stream=1&stdin=1&stdout=1&stderr=1"


@pytest.fixture
def attach(api, engine):
    """attach(tty=…, version=…, query=…) gives a connected client and the container's end of its stream."""
    opened = []

    def connect(tty=False, version="1.51", query=QUERY, **headers):
        id = api.start("sleep", "9", Tty=tty)
        client = WebSocket(api.path, f"/v{version}/containers/{id}/attach/ws?{query}", **headers)
        opened.append(client)
        assert client.accepted, client.body
        request, inside, _ = engine.attached[id][0]
        inside.settimeout(5)
        opened.append(inside)
        return client, inside, request

    yield connect
    for one in opened:
        (one.socket if isinstance(one, WebSocket) else one).close()


def test_bytes_go_both_ways(attach):
    client, inside, request = attach()
    assert (request.stdin, request.stdout, request.stderr, request.stream) == (True, True, True, True)
    client.send(b"in")
    assert inside.recv(10) == b"in"
    inside.sendall(frame(1, b"out") + frame(2, b"err"))
    assert client.receive() == (BINARY, b"outerr")
    inside.close()
    assert client.messages() == (b"", 1000)


def test_a_terminal_has_no_frames_of_dockers(attach):
    client, inside, _ = attach(tty=True)
    inside.sendall(b"\1\0\0\0\0\0\0\5raw")
    assert client.receive() == (BINARY, b"\1\0\0\0\0\0\0\5raw")


def test_output_in_pieces_of_any_size(attach):
    client, inside, _ = attach()
    for byte in frame(1, b"slowly") + frame(2, b"!"):
        inside.sendall(bytes([byte]))
        time.sleep(0.001)
    large = bytes(range(256)) * 400
    inside.sendall(frame(1, large))
    inside.close()
    assert client.messages() == (b"slowly!" + large, 1000)


def test_large_and_fragmented_input(attach):
    client, inside, _ = attach()
    large = bytes(range(256)) * 1000
    client.send(large)
    received = b""
    while len(received) < len(large):
        received += inside.recv(65536)
    assert received == large
    client.send(b"a", TEXT, final=False)
    client.send(b"?", PING)
    client.send(b"b", CONTINUATION, final=False)
    client.send(b"c", CONTINUATION)
    assert client.receive() == (PONG, b"?")
    assert b"".join(iter(lambda: inside.recv(1), b"c")) == b"ab"


def test_a_close_is_answered_and_ends_the_stream(attach):
    client, inside, _ = attach()
    client.send((3001).to_bytes(2, "big") + b"bye", CLOSE)
    assert client.messages() == (b"", 3001)
    assert inside.recv(10) == b""


def test_a_client_that_leaves_ends_the_stream(attach):
    client, inside, _ = attach()
    client.socket.close()
    assert inside.recv(10) == b""


def test_without_stdin_input_goes_nowhere(attach):
    client, inside, request = attach(query="stream=1&stdout=1")
    assert not request.stdin
    client.send(b"lost")
    client.send(b"", PING)
    assert client.receive() == (PONG, b"")
    inside.setblocking(False)
    with pytest.raises(BlockingIOError):
        inside.recv(10)


def test_old_versions(attach):
    client, inside, request = attach(version="1.41", query="stream=1")
    assert (request.stdin, request.stdout, request.stderr) == (True, True, True)
    inside.sendall(frame(1, b"x"))
    assert client.receive() == (BINARY, b"x")
    client, inside, _ = attach(version="1.27")
    inside.sendall(frame(1, "é".encode()[:1]))
    inside.sendall(frame(1, "é".encode()[1:] + b"\xff"))
    kind, text = client.receive()
    while len(text) < 5:
        more, rest = client.receive()
        kind, text = kind | more, text + rest
    assert (kind, text.decode()) == (TEXT, "é\ufffd")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(b"x", BINARY, {"masked": False})], 1002),
        ([(b"x", BINARY, {"reserved": 4})], 1002),
        ([(b"x", 3, {})], 1002),
        ([(b"x", 11, {})], 1002),
        ([(b"x", PING, {"final": False})], 1002),
        ([(b"x" * 126, PING, {})], 1002),
        ([(b"x", CONTINUATION, {})], 1002),
        ([(b"x", TEXT, {"final": False}), (b"y", TEXT, {})], 1002),
        ([(b"x" * ((1 << 20) + 1), BINARY, {})], 1009),
        ([(b"\x03", CLOSE, {})], 1002),
        ([((1005).to_bytes(2, "big"), CLOSE, {})], 1002),
        ([((1000).to_bytes(2, "big") + b"\xff", CLOSE, {})], 1007),
        ([(b"", CLOSE, {})], 1000),
    ],
)
def test_what_is_against_the_rules_ends_it(attach, frames, code):
    client, inside, _ = attach()
    for data, kind, how in frames:
        client.send(data, kind, **how)
    assert client.messages() == (b"", code)
    while inside.recv(65536):  # what came before the mistake
        pass


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"Upgrade": None}, 400, "not a websocket request"),
        ({"Connection": "close"}, 400, "not a websocket request"),
        ({"Sec_WebSocket_Version": "8"}, 400, "version 13"),
        ({"Sec_WebSocket_Key": "AAAA"}, 400, "key of 16 bytes"),
        ({"Sec_WebSocket_Key": "no base64!"}, 400, "key of 16 bytes"),
        ({"Sec_WebSocket_Key": None}, 400, "key of 16 bytes"),
        ({"Origin": "http://evil.example"}, 403, "cross-origin"),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403, "cross-origin"),
        ({"Host": "127.0.0.1:2375", "Origin": "http://127.0.0.1"}, 403, "cross-origin"),
        ({"Origin": "null"}, 403, "cross-origin"),
    ],
)
def test_a_handshake_that_is_none(api, headers, status, message):
    id = api.start("sleep", "9")
    with WebSocket(api.path, f"/containers/{id}/attach/ws?{QUERY}", **headers) as client:
        assert client.status == status
        assert message in client.body.decode()


@pytest.mark.parametrize("host", ["127.0.0.1:2375", "localhost:2375", "[::1]:2375", "192.0.2.7"])
def test_a_library_that_names_its_own_url_as_origin(attach, host):
    client, _, _ = attach(Host=host, Origin=f"http://{host}")
    assert client.headers["upgrade"] == "websocket"


def test_an_unknown_container_is_an_http_error(api):
    with WebSocket(api.path, f"/containers/nope/attach/ws?{QUERY}") as client:
        assert client.status == 404
        assert b"No such container" in client.body


def test_bad_detach_keys(api):
    id = api.start("sleep", "9")
    with WebSocket(api.path, f"/containers/{id}/attach/ws?{QUERY}&detachKeys=ctrl-nope") as client:
        assert client.status == 400
        assert b"Invalid escape keys (ctrl-nope) provided" in client.body
