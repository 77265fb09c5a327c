"""Streams: attach and exec by raw sockets, logs, events."""

import json
import socket
import struct
import time
from urllib.parse import quote

import pytest
from api_client import read_all, read_head

from barque.spi.errors import Unavailable
from barque.spi.log import LogEntry

UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"


def post(target, headers="", body=""):
    kind = "Content-Type: application/json\r\n" if body else ""
    return f"POST {target} HTTP/1.1\r\nHost: x\r\n{headers}{kind}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def frames(data):
    found = []
    while data:
        stream, size = struct.unpack_from(">BxxxI", data)
        found.append((stream, data[8 : 8 + size]))
        data = data[8 + size :]
    return found


def wait_for(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("version", "tty", "kind"),
    [
        ("1.51", False, "multiplexed"),
        ("1.42", False, "multiplexed"),
        ("1.41", False, "raw"),
        ("1.51", True, "raw"),
    ],
)
def test_attach_switches_protocols(api, engine, version, tty, kind):
    id = api.create("echo", "hi", Tty=tty)
    with api.connect() as sock:
        sock.sendall(
            post(f"/v{version}/containers/{id}/attach?stream=1&stdout=1&stderr=1&detachKeys=ctrl-a", UPGRADE)
        )
        assert read_head(sock) == (
            b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.%s-stream\r\n" % kind.encode()
            + b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        api.call("POST", f"/containers/{id}/start")
        assert read_all(sock) == (b"hi\n" if tty else b"\1\0\0\0\0\0\0\3hi\n")
    request = next(call[2] for call in engine.calls if call[0] == "container_attach")
    assert (request.stdin, request.stdout, request.stderr, request.stream) == (False, True, True, True)
    assert (request.logs, request.detach_keys) == (False, "ctrl-a")


def test_attach_without_upgrade(api, engine):
    id = api.create("echo", "hi")
    with api.connect() as sock:
        sock.sendall(post(f"/containers/{id}/attach?stream=1&stdout=1"))
        assert (
            read_head(sock) == b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
        )
        api.call("POST", f"/containers/{id}/start")
        assert read_all(sock) == b"\1\0\0\0\0\0\0\3hi\n"


def test_what_the_client_sends_early_reaches_the_container(api, engine):
    id = api.create("cat", OpenStdin=True)
    with api.connect() as sock:
        sock.sendall(post(f"/containers/{id}/attach?stream=1&stdin=1&stdout=1", UPGRADE) + b"early ")
        read_head(sock)
        api.call("POST", f"/containers/{id}/start")
        sock.sendall(b"late")
        sock.shutdown(socket.SHUT_WR)
        assert b"".join(data for _, data in frames(read_all(sock))) == b"early late"


def test_the_connection_survives_our_end_of_it(api, engine):
    """The frontend closes its descriptor without shutdown: whoever got a duplicate goes on."""
    id = api.create("cat", OpenStdin=True, Tty=True)
    with api.connect() as sock:
        sock.sendall(post(f"/containers/{id}/attach?stream=1&stdin=1&stdout=1", UPGRADE))
        read_head(sock)
        wait_for(lambda: not api.frontend._server._connections)
        api.frontend.frontend_stop(1.0)
        engine.container_start(id)
        sock.sendall(b"still here")
        assert sock.recv(100) == b"still here"


def test_attach_to_nothing_is_an_http_error(api, engine):
    with api.connect() as sock:
        sock.sendall(post("/containers/nope/attach?stream=1", UPGRADE) + b"input that is no request")
        assert read_head(sock).startswith(b"HTTP/1.1 404 ")
    engine.fail["container_attach"] = Unavailable("no shim")
    id = api.create("cat")
    answer = api.raw(post(f"/containers/{id}/attach?stream=1", UPGRADE))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Connection: close" in answer


@pytest.mark.row("S36")
def test_abandoned_attaches_leave_nothing(api, engine):
    id = api.create("cat", OpenStdin=True)
    for _ in range(50):
        with api.connect() as sock:
            sock.sendall(post(f"/containers/{id}/attach?stream=1&stdin=1", UPGRADE))
            read_head(sock)
    wait_for(lambda: not api.frontend._server._connections)
    assert len(engine.attached[id]) == 50


def create_exec(api, *command, **fields):
    id = api.start("sleep", "9")
    body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, **fields}
    return api.json("POST", f"/containers/{id}/exec", body, 201)["Id"]


def start_exec(api, exec_id, body='{"Detach":false,"Tty":false}', upgrade=UPGRADE):
    sock = api.connect()
    sock.sendall(post(f"/exec/{exec_id}/start", upgrade, body))
    return read_head(sock), sock


def test_exec_streams_its_output(api, engine):
    exec_id = create_exec(
        api, "run", "me", User="u", WorkingDir="/w", Env=["A=1"], Privileged=True, DetachKeys="ctrl-x"
    )
    head, sock = start_exec(api, exec_id)
    with sock:
        assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
        assert b"multiplexed-stream" in head
        assert frames(read_all(sock)) == [(1, b"run me")]
    got = api.json("GET", f"/exec/{exec_id}/json")
    assert (got["Running"], got["ExitCode"], got["OpenStdin"], got["OpenStdout"]) == (False, 0, False, True)
    assert got["ProcessConfig"] == {
        "tty": False, "entrypoint": "run", "arguments": ["me"], "privileged": True, "user": "u",
    }  # fmt: skip
    config = engine.execs[exec_id].config
    assert (config.env, config.working_dir, config.detach_keys) == (("A=1",), "/w", "ctrl-x")


def test_exec_stdin_follows_the_body(api, engine):
    exec_id = create_exec(api, "cat", AttachStdin=True)
    body = '{"Detach":false,"Tty":false}'
    with api.connect() as sock:
        sock.sendall(post(f"/exec/{exec_id}/start", UPGRADE, body) + b"ab")
        read_head(sock)
        sock.sendall(b"cd")
        sock.shutdown(socket.SHUT_WR)
        assert b"".join(data for _, data in frames(read_all(sock))) == b"abcd"


def test_output_does_not_come_in_one_piece_with_the_head(api, engine):
    exec_id = create_exec(api, "run", "me")
    with api.connect() as sock:
        sock.sendall(post(f"/exec/{exec_id}/start", UPGRADE, "{}"))
        time.sleep(0.005)
        assert sock.recv(65536).endswith(b"Upgrade: tcp\r\n\r\n")
        assert frames(read_all(sock)) == [(1, b"run me")]


def test_client_that_never_reads_does_not_hold_an_exec_up(api, engine):
    exec_id = create_exec(api, "run", "me")
    with api.connect() as sock:
        sock.sendall(post(f"/exec/{exec_id}/start", UPGRADE, "{}"))
        wait_for(lambda: engine.execs[exec_id].exit_code == 0, 2)


@pytest.mark.parametrize("program", ["early", "late"])
def test_program_that_cannot_be_executed_is_told_in_the_stream(api, engine, program):
    for tty in (False, True):
        exec_id = create_exec(api, program, Tty=tty)
        head, sock = start_exec(api, exec_id)
        with sock:
            assert head.startswith(b"HTTP/1.1 101 ")
            data = read_all(sock)
        if not tty:
            ((stream, data),) = frames(data)
            assert stream == 1  # as dockerd's
        assert data.endswith(b"\r\n")
        assert b"nothing there" in data or b"executable file not found" in data


def test_other_errors_of_exec_are_http_errors(api, engine):
    head, sock = start_exec(api, create_exec(api, "conflict"))
    sock.close()
    assert head.startswith(b"HTTP/1.1 409 ")
    assert api.message("POST", "/exec/nope/start", {}, 404) == "No such exec instance: nope"
    id = api.create("echo")
    assert api.message("POST", f"/containers/{id}/exec", {}) == "No exec command specified"


def test_detached_exec_and_console_size(api, engine):
    exec_id = create_exec(api, "x")
    assert api.call("POST", f"/exec/{exec_id}/start", {"Detach": True})[0] == 200
    assert api.call("POST", f"/exec/{create_exec(api, 'early')}/start", {"Detach": True})[0] == 400
    assert (
        api.message("POST", f"/exec/{exec_id}/start", {"ConsoleSize": [1, 2]})
        == "console size is only supported with a TTY"
    )
    assert api.call("POST", f"/exec/{exec_id}/start", {"ConsoleSize": [1], "Tty": True})[0] == 400
    exec_id = create_exec(api, "x", Tty=True)
    _, sock = start_exec(api, exec_id, '{"Tty":true,"ConsoleSize":[24,80]}')
    sock.close()
    wait_for(lambda: ("exec_resize", exec_id, 24, 80) in engine.calls)
    assert api.call("POST", f"/exec/{exec_id}/resize?h=1&w=2")[0] == 200
    assert engine.calls[-1] == ("exec_resize", exec_id, 1, 2)


def test_an_exec_may_be_given_its_terminals_size_when_it_is_created(api, engine):
    exec_id = create_exec(api, "x", Tty=True, ConsoleSize=[30, 90])
    _, sock = start_exec(api, exec_id, '{"Tty":true}')
    sock.close()
    wait_for(lambda: ("exec_resize", exec_id, 30, 90) in engine.calls)
    id = api.start("sleep", "9")
    for version, size in (("1.41", None), ("1.42", (30, 90))):
        body = {"Cmd": ["x"], "Tty": True, "ConsoleSize": [30, 90]}
        api.json("POST", f"/v{version}/containers/{id}/exec", body, 201)
        assert (
            next(call[2] for call in reversed(engine.calls) if call[0] == "exec_create").console_size == size
        )


# -- logs


def logged(engine, id):
    engine.entries[id] += [
        LogEntry("stdout", 1_600_000_000_123_000_000, b"one\n", {"b": "2", "a": "1"}),
        LogEntry("stderr", 1_600_000_001_000_000_000, b"two\n"),
        LogEntry("stdout", 1_600_000_002_000_000_000, b"three"),
    ]


def test_logs(api, engine):
    id = api.create("echo")
    logged(engine, id)
    code, headers, data = api.call("GET", f"/containers/{id}/logs?stdout=1&stderr=1")
    assert code == 200
    assert headers["content-type"] == "application/vnd.docker.multiplexed-stream"
    assert frames(data) == [(1, b"one\n"), (2, b"two\n"), (1, b"three")]
    assert api.call("GET", f"/v1.41/containers/{id}/logs?stdout=1")[1]["content-type"].endswith("raw-stream")
    assert frames(api.call("GET", f"/containers/{id}/logs?stderr=1")[2]) == [(2, b"two\n")]
    data = api.call("GET", f"/containers/{id}/logs?stdout=1&timestamps=1&details=1&tail=3")[2]
    assert frames(data)[0] == (1, b"2020-09-13T12:26:40.123000000Z a=1,b=2 one\n")


def test_logs_of_a_terminal_are_raw(api, engine):
    id = api.create("echo", Tty=True)
    logged(engine, id)
    _, headers, data = api.call("GET", f"/containers/{id}/logs?stdout=1&stderr=1")
    assert headers["content-type"] == "application/vnd.docker.raw-stream"
    assert data == b"one\ntwo\nthree"


def test_logs_parameters(api, engine):
    id = api.create("echo")
    api.call("GET", f"/containers/{id}/logs?stdout=1&since=12.5&until=13.000000001&tail=7&follow=0")
    request = engine.calls[-1][2]
    assert (request.since_ns, request.until_ns, request.tail) == (12_500_000_000, 13_000_000_001, 7)
    assert (request.stdout, request.stderr, request.follow) == (True, False, False)
    assert (
        api.message("GET", f"/containers/{id}/logs") == "Bad parameters: you must choose at least one stream"
    )
    assert api.call("GET", f"/containers/{id}/logs?stdout=1&since=x")[0] == 400
    for tail in ("x", "-1", "all", ""):
        api.call("GET", f"/containers/{id}/logs?stdout=1&tail={tail}")
        assert engine.calls[-1][2].tail == -1
    assert api.call("GET", "/containers/nope/logs?stdout=1")[0] == 404


def test_followed_logs_come_at_once_and_end_with_the_container(api, engine):
    id = api.start("sleep", "9")
    logged(engine, id)
    with api.connect() as sock:
        sock.sendall(f"GET /containers/{id}/logs?stdout=1&follow=1 HTTP/1.0\r\n\r\n".encode())
        read_head(sock)
        sock.settimeout(2)
        assert frames(sock.recv(1000)) == [(1, b"one\n"), (1, b"three")]
        engine.entries[id].append(LogEntry("stdout", time.time_ns(), b"live\n"))
        assert frames(sock.recv(1000)) == [(1, b"live\n")]
        api.call("POST", f"/containers/{id}/kill")
        assert read_all(sock) == b""


def test_following_ends_when_the_reader_leaves(api, engine):
    id = api.start("sleep", "9")
    sock = api.connect()
    sock.sendall(f"GET /containers/{id}/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    read_head(sock)
    sock.close()
    wait_for(lambda: not api.frontend._server._connections)


def test_error_within_logs_is_told_in_the_stream(api, engine):
    id = api.create("echo")
    logged(engine, id)
    engine.fail["logs_read"] = Unavailable("disk is gone")
    assert frames(api.call("GET", f"/containers/{id}/logs?stdout=1")[2])[-1] == (
        2,
        b"Error grabbing logs: disk is gone\n",
    )


def test_large_logs_go_in_few_pieces(api, engine, monkeypatch):
    from barque_api_docker.connection import Connection

    sent = []
    real = Connection.send
    monkeypatch.setattr(Connection, "send", lambda self, data: (sent.append(len(data)), real(self, data)))
    id = api.create("echo")
    engine.entries[id] = [LogEntry("stdout", 1, b"x" * 90 + b"\n")] * 20000
    data = api.call("GET", f"/containers/{id}/logs?stdout=1")[2]
    assert len(data) == 20000 * 99
    assert len(sent) < 40


# -- events


def stream_events(api, query=""):
    sock = api.connect()
    sock.sendall(f"GET /events{query} HTTP/1.0\r\n\r\n".encode())
    assert b"application/json" in read_head(sock)
    return sock


def test_events_live(api, engine):
    with stream_events(api) as sock:
        engine.publish("container", "start", "c" * 64, name="web", image="bb:1")
        event = json.loads(sock.recv(10000))
    assert event["Type"] == "container"
    assert event["Action"] == event["status"] == "start"
    assert event["Actor"] == {"ID": "c" * 64, "Attributes": {"name": "web", "image": "bb:1"}}
    assert (event["id"], event["from"], event["scope"]) == ("c" * 64, "bb:1", "local")
    assert event["time"] == event["timeNano"] // 1_000_000_000
    wait_for(lambda: engine.subscriptions[-1].closed)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["create", "exec_start: ls", "connect", "pull"]),
        ({"event": ["create"]}, ["create"]),
        ({"event": ["exec_start"]}, ["exec_start: ls"]),
        ({"type": ["network"]}, ["connect"]),
        ({"type": ["network", "image"]}, ["connect", "pull"]),
        ({"container": ["web"]}, ["create"]),
        ({"container": ["ccc"]}, ["create", "exec_start: ls"]),
        ({"image": ["bb:1"]}, ["create", "exec_start: ls"]),
        ({"image": ["bb"]}, ["create", "exec_start: ls"]),
        ({"label": ["k=v"]}, ["create"]),
        ({"network": ["bridge"]}, ["connect"]),
        ({"scope": ["swarm"]}, []),
        ({"volume": ["v"]}, []),
    ],
)
def test_past_events_and_filters(api, engine, filters, expected):
    engine.publish("container", "create", "c" * 64, name="web", image="bb:1", k="v")
    engine.publish("container", "exec_start: ls", "c" * 64, name="other", image="bb:1")
    engine.publish("network", "connect", "n" * 64, name="bridge", container="d" * 64)
    engine.publish("image", "pull", "alpine:latest", name="alpine")
    until = f"{time.time() + 0.2:.9f}"
    with stream_events(api, f"?since=0&until={until}&filters={quote(json.dumps(filters))}") as sock:
        lines = read_all(sock).splitlines()
    assert [json.loads(line)["Action"] for line in lines] == expected
    assert engine.subscriptions[-1].closed


def test_bad_event_parameters(api):
    assert api.call("GET", "/events?since=x")[0] == 400
    assert api.message("GET", "/events?filters=x") == "invalid filter"
    assert "cannot be after" in api.message("GET", "/events?since=2&until=1")


def test_an_unknown_event_filter_is_not_applied(api):
    """As by dockerd."""
    status, _, body = api.call("GET", "/events?since=0&until=1&filters=%7B%22a%22:[%22b%22]%7D")
    assert (status, body) == (200, b"")
