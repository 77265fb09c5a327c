"""HTTP on the wire: keep-alive, bodies, and everything a hostile client may try."""

import contextlib
import json
import socket
import time

import pytest
from api_client import read_all, read_head
from hypothesis import given
from hypothesis import strategies as st

from barque.spi.errors import InvalidArgument
from barque.spi.frontend import Listener
from barque_api_docker.body import ProtocolError, Source
from barque_api_docker.http import parse_head
from barque_api_docker.plugin import DockerFrontend

PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Bytes(Source):
    """A connection that holds `data` and then ends, handing out `step` bytes at a time."""

    def __init__(self, data, step=7):
        self.buffer, self._rest, self._step, self.sent = bytearray(), data, step, b""

    def fill(self):
        piece, self._rest = self._rest[: self._step], self._rest[self._step :]
        self.buffer += piece
        return bool(piece)

    def send(self, data):
        self.sent += data


def post(headers, body=b"", **options):
    source = Bytes(body, **options)
    head = b"POST /x HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in headers) + b"\r\n"
    return parse_head(head, source), source


def status(answer):
    return int(answer.split(b" ", 2)[1])


def test_every_answer_has_dockers_headers(api):
    code, headers, body = api.call("GET", "/_ping")
    assert (code, body) == (200, b"OK")
    assert headers["api-version"] == "1.51"
    assert headers["docker-experimental"] == "false"
    assert headers["ostype"] == "linux"
    assert headers["server"] == "Barque/9.8.7 (linux)"
    assert headers["cache-control"] == "no-cache, no-store, must-revalidate"
    assert api.call("GET", "/nope")[1]["api-version"] == "1.51"


def test_head_has_no_body(api):
    answer = api.raw(CLOSE.replace(b"GET", b"HEAD"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 2\r\n" in answer


def test_keep_alive_serves_many_requests_on_one_connection(api):
    with api.connect() as sock:
        for _ in range(3):
            sock.sendall(PING)
            assert status(read_head(sock)) == 200
            assert sock.recv(2) == b"OK"


def test_pipelined_requests_are_answered_in_order(api):
    answer = api.raw(PING + b"GET /v1.1/_ping HTTP/1.1\r\nHost: x\r\n\r\n" + CLOSE)
    codes = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert codes == [b"200", b"400", b"200"]


def test_request_in_single_bytes(api):
    with api.connect() as sock:
        for byte in CLOSE:
            sock.sendall(bytes([byte]))
        assert read_all(sock).endswith(b"OK")


def test_http_1_0_closes(api):
    answer = api.raw(b"GET /_ping HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"OK")
    assert b"Connection: close" in answer


def test_http_1_0_stream_is_not_chunked(api, engine):
    id = api.start("echo", "hi")
    time.sleep(0.1)
    answer = api.raw(f"GET /containers/{id}/logs?stdout=1 HTTP/1.0\r\n\r\n".encode())
    assert b"chunked" not in answer
    assert answer.endswith(b"\1\0\0\0\0\0\0\3hi\n")


def test_chunked_body(api, engine):
    body = json.dumps({"Image": "bb:1", "Cmd": ["echo"]}).encode()
    chunks = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in (body[:5], body[5:]))
    answer = api.raw(
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks + b"0\r\nTrailer: 1\r\n\r\n"
    )
    assert status(answer) == 201
    assert len(engine.containers) == 1


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("read", [0, 1, 50_000])
def test_the_rest_of_a_body_is_never_the_next_request(api, engine, chunked, read):
    """What an operation that fails half-way leaves unread is the client's file: it may hold requests of whoever wrote it."""

    def import_(request, progress):
        left = read
        for piece in request.source if read else ():
            left -= len(piece)
            if left <= 0:
                break
        raise InvalidArgument("enough")

    engine.image_import = import_
    smuggled = b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    body = smuggled * 600
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    head = b"POST /images/create?fromSrc=- HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % framing
    answer = api.raw(head + framed + CLOSE)
    codes = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert codes in ([400], [400, 200]), answer
    assert not engine.containers


def test_a_body_that_broke_stays_broken():
    request, _ = post([b"Transfer-Encoding: chunked"], b"3\r\nabcX\r\nGET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ProtocolError):
        request.body.read(100)
    with pytest.raises(ProtocolError):
        request.body.read(100)
    assert not request.body.done


def test_expect_100_continue(api):
    body = b'{"Image":"bb:1"}'
    with api.connect() as sock:
        sock.sendall(
            b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert read_head(sock) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert status(read_all(sock)) == 201


def test_expectation_of_a_body_nobody_reads_ends_the_connection(api):
    answer = api.raw(b"POST /nope HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert status(answer) == 404
    assert b"100 Continue" not in answer


def test_unread_body_is_not_taken_for_a_request(api):
    answer = api.raw(
        b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(PING) + PING + CLOSE
    )
    assert answer.count(b"HTTP/1.1 ") == 2
    assert status(answer) == 404


@pytest.mark.row("S36")
@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Content-Length: 4\r\nContent-Length: 5",
        b"Content-Length: 4\r\nContent-Length: 4",
        b"Content-Length: +4",
        b"Content-Length: 0x4",
        b"Content-Length: 4, 4",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding : chunked",
        b"X: a\r\n Transfer-Encoding: chunked",
        b"X: a\nContent-Length: 4",
        b"Host: y\r\nHost: z",
    ],
)
def test_smuggling_is_refused_and_the_connection_closed(api, engine, head):
    answer = api.raw(b"POST /containers/create HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n0\r\n\r\n" + PING)
    assert status(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["message"]


@pytest.mark.row("S36")
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000", "Host": "localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_in_browsers_are_refused(api, engine, headers):
    body = {"Image": "bb:1"}
    assert api.call("POST", "/containers/create", body, headers)[0] == 403
    assert api.call("POST", "/v1.40/containers/create", body, headers)[0] == 403
    assert api.call("DELETE", "/containers/x", None, headers)[0] == 403
    assert api.call("GET", "/info", None, headers)[0] == 403
    assert not engine.containers
    assert not engine.calls


@pytest.mark.row("S36")
def test_a_page_that_is_trusted_may_ask_and_a_client_may_name_its_own_host(serve):
    api = serve(origins=("https://panel.example.org",))
    trusted = {"Origin": "https://panel.example.org", "Sec-Fetch-Site": "cross-site"}
    assert api.call("GET", "/_ping", None, trusted)[0] == 200
    assert api.call("GET", "/_ping", None, {"Origin": "https://other.example.org"})[0] == 403
    # what websocket-client sends, which docker-py uses for attach
    assert api.call("GET", "/_ping", None, {"Origin": "http://localhost", "Host": "localhost"})[0] == 200


@pytest.mark.row("S36")
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:2375", 200), ("[::1]:2375", 200), ("docker", 200), ("docker:2375", 200), ("a.localhost", 200),
        ("known.example.org:2375", 200), ("evil.example:2375", 403), ("evil.example", 403), ("127.0.0.1.evil.example:1", 403),
    ],
)  # fmt: skip
def test_a_name_that_a_stranger_led_here_is_refused_on_tcp_in_clear(engine, host, status):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        frontend = DockerFrontend("docker", DockerFrontend.Config(hosts=("known.example.org",)))
        frontend.frontend_start(engine, (Listener(listener.fileno(), "tcp://127.0.0.1"),))
        try:
            with socket.create_connection(listener.getsockname()) as client:
                client.sendall(f"GET /_ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                assert int(client.recv(4096).split()[1]) == status
        finally:
            frontend.frontend_stop(2.0)


@pytest.mark.row("S36")
def test_500_half_open_connections_are_ended_and_do_not_keep_others_out(serve):
    api = serve(head_timeout=0.5, max_connections=1000)
    sockets = [api.connect() for _ in range(500)]
    for sock in sockets:
        sock.sendall(b"GET /_ping HTT")
    assert api.call("GET", "/_ping")[0] == 200
    began = time.monotonic()
    for sock in sockets:
        assert read_all(sock) == b""
        sock.close()
    assert time.monotonic() - began < 5
    _wait_for(lambda: not api.frontend._server._connections)


def test_slow_loris_does_not_stretch_the_head_timeout(serve):
    api = serve(head_timeout=0.4)
    with api.connect() as sock:
        began = time.monotonic()
        with pytest.raises(BrokenPipeError):
            _drip(sock, 5.0)
        assert time.monotonic() - began < 3


def _drip(sock, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        sock.sendall(b"a")
        time.sleep(0.05)


def test_slow_body_is_cut(serve):
    api = serve(head_timeout=0.3)
    with api.connect() as sock:
        sock.sendall(
            b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
        )
        assert read_all(sock) == b""


def test_idle_connection_is_closed(serve):
    api = serve(idle_timeout=0.2)
    with api.connect() as sock:
        sock.sendall(PING)
        read_head(sock)
        assert read_all(sock) == b"OK"


def test_too_many_connections_get_a_clear_503(serve):
    api = serve(max_connections=2)
    kept = [api.connect() for _ in range(2)]
    for sock in kept:
        sock.sendall(PING)
        read_head(sock)
    answer = api.raw(b"")
    assert status(answer) == 503
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert "connections" in json.loads(body)["message"]
    for sock in kept:
        sock.close()
    _wait_for(lambda: not api.frontend._server._connections)
    assert api.call("GET", "/_ping")[0] == 200


def _wait_for(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /" + b"a" * 70000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 20000 + b"\r\n", 431),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET ftp://x/y HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n", 417),
        (b"GET /containers/json?" + b"a=b&" * 300 + b" HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    ],
)
def test_malformed_requests(api, request_bytes, code):
    assert status(api.raw(request_bytes)) == code


@pytest.mark.row("S36")
def test_an_absolute_target_that_is_no_url_is_told_so(api):
    assert api.raw(b"GET http://[::1/_ping HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_absolute_target_and_leading_empty_lines(api):
    assert api.raw(b"\r\n\r\nGET http://any/_ping?x HTTP/1.1\r\nConnection: close\r\n\r\n").endswith(b"OK")


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"5\r\nabcdeX\r\n",
        b"5\nabcde\r\n",
        b"\r\n",
        b"f" * 17 + b"\r\n",
        b"5;" + b"a" * 2000,
    ],
)
def test_malformed_chunks(api, chunks):
    answer = api.raw(
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks
        + b"0\r\n\r\n"
        + PING
    )
    assert status(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1


def test_large_body_is_refused_before_it_is_read(api):
    answer = api.raw(
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000000000000\r\n\r\n" + b" " * 1000000
    )
    assert status(answer) == 413
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer = api.raw(
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk * 65
        + b"0\r\n\r\n"
    )
    assert status(answer) == 413


def test_defect_is_a_500_with_class_and_message_and_the_connection_goes_on(api, engine, caplog):
    engine.fail["container_stop"] = ZeroDivisionError("boom")
    assert api.message("POST", "/containers/x/stop", status=500) == "ZeroDivisionError: boom"
    assert "boom" in caplog.text
    engine.fail["container_stop"] = OSError(24, "Too many open files")
    assert "Too many open files" in api.message("POST", "/containers/x/stop", status=503)
    assert api.call("GET", "/_ping")[0] == 200


def test_out_of_descriptors_is_told(api, monkeypatch):
    import errno

    server = api.frontend._server
    real, failed = socket.socket.accept, []

    def accept(self):
        if not failed and self.getsockname() == api.path:
            failed.append(True)
            raise OSError(errno.EMFILE, "too many open files")
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    assert status(api.raw(b"")) == 503
    assert api.call("GET", "/_ping")[0] == 200
    assert server._spare >= 0


def test_stop_ends_idle_connections_and_streams(api, engine):
    idle, events = api.connect(), api.connect()
    idle.sendall(PING)
    read_head(idle)
    events.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    read_head(events)
    began = time.monotonic()
    api.frontend.frontend_stop(5.0)
    assert time.monotonic() - began < 3
    assert read_all(idle) == b"OK"
    assert read_all(events) == b""
    assert engine.subscriptions[0].closed
    late = api.connect()
    late.settimeout(0.1)
    late.sendall(PING)
    with pytest.raises(TimeoutError):
        late.recv(1)
    late.close()
    idle.close()
    events.close()
    api.frontend.frontend_stop(1.0)


def test_body_framing_leaves_what_follows():
    request, source = post([b"Content-Length: 4"], b"abcdNEXT", step=100)
    assert request.body.read(10) == b"abcd"
    assert source.buffer == b"NEXT"
    request, source = post([b"Transfer-Encoding: chunked"], b"2\r\nab\r\n0\r\n\r\nNEXT", step=100)
    assert request.body.read(10) == b"ab"
    assert source.buffer == b"NEXT"


def test_header_values():
    request, _ = post([b"X-Empty:", b"x-A: 1", b"X-a:  2 ", b"Content-Length: 0"])
    assert request.headers == {"x-empty": "", "x-a": "1, 2", "content-length": "0"}
    assert request.body.done


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=50), max_size=5),
    step=st.integers(1, 20),
    rest=st.binary(max_size=10),
)
def test_any_chunking_gives_the_body_back(pieces, step, rest):
    wire = b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    request, source = post([b"Transfer-Encoding: chunked"], wire + rest, step=step)
    assert request.body.read(1000) == b"".join(pieces)
    assert bytes(source.buffer) + source._rest == rest


@pytest.mark.row("R41")
@given(head=st.binary(max_size=300), body=st.binary(max_size=300))
def test_garbage_is_a_protocol_error_or_a_request(head, body):
    for start in (b"", b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"):
        with contextlib.suppress(ProtocolError):
            request = parse_head(start + head.replace(b"\r\n\r\n", b"") + b"\r\n\r\n", Bytes(body))
            assert request.path.isprintable()
            assert len(request.body.read(1000)) <= len(body)
