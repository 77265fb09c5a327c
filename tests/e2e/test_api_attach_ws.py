"""Attach over a websocket with a real daemon and real containers."""

import os
import time
from pathlib import Path

import pytest
from registry_image import IMAGE

from barque.testing.websocket import BINARY, PING, PONG, WebSocket

pytestmark = pytest.mark.root
QUERY = "stream=1&stdin=1&stdout=1&stderr=1"


@pytest.fixture
def attached(daemon):
    """attached(*command, query=…, **config) creates a container, connects, starts it, and gives its id and the client."""
    made = []

    def connect(*command, query=QUERY, **config):
        body = {"Image": IMAGE, "Cmd": list(command), "HostConfig": {"NetworkMode": "none"}, **config}
        id = daemon.json("POST", "/containers/create", body)["Id"]
        client = WebSocket(daemon.socket, f"/v1.51/containers/{id}/attach/ws?{query}")
        made.append((id, client))
        assert client.accepted, client.body
        assert daemon.request("POST", f"/containers/{id}/start")[0] == 204
        return id, client

    yield connect
    for id, client in made:
        client.socket.close()
        daemon.request("DELETE", f"/containers/{id}?force=1")


def test_input_output_and_the_end(attached):
    _, client = attached(
        "sh", "-c", "read line; echo got $line; echo bad >&2; exit 3", OpenStdin=True, StdinOnce=True
    )
    client.send(b"", PING)
    assert client.receive() == (PONG, b"")
    client.send(b"a word\n")
    output, code = client.messages()
    assert sorted(output.splitlines()) == [b"bad", b"got a word"]
    assert code == 1000


def test_much_goes_through_and_comes_back(attached):
    _, client = attached("cat", OpenStdin=True, StdinOnce=True)
    sent = b"".join(b"%07d\n" % n for n in range(20_000))
    received = b""
    for start in range(0, len(sent), 40_000):
        client.send(sent[start : start + 40_000])
        while len(received) < start:
            kind, payload = client.receive()
            assert kind == BINARY
            received += payload
    while len(received) < len(sent):
        received += client.receive()[1]
    assert received == sent


def test_detach_keys_close_the_socket_and_leave_the_container(attached, daemon):
    id, client = attached("cat", query=f"{QUERY}&detachKeys=ctrl-a,q", OpenStdin=True, Tty=True)
    client.send(b"\x01q")
    assert client.messages()[1] == 1000
    assert daemon.json("GET", f"/containers/{id}/json")["State"]["Running"]


def test_a_close_ends_the_input(attached, daemon):
    id, client = attached("cat", OpenStdin=True, StdinOnce=True)
    client.send(b"x")
    assert client.receive() == (BINARY, b"x")
    client.send((1000).to_bytes(2, "big"), 8)
    assert client.messages() == (b"", 1000)
    deadline = time.monotonic() + 10
    while daemon.json("GET", f"/containers/{id}/json")["State"]["Running"]:
        assert time.monotonic() < deadline, "cat waits for input that cannot come"
        time.sleep(0.02)


def test_what_was_printed_before(daemon, container):
    id = container(program=("sh", "-c", "echo before; sleep 1000"))
    deadline = time.monotonic() + 10
    while not daemon.request("GET", f"/containers/{id}/logs?stdout=1")[1]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with WebSocket(daemon.socket, f"/v1.51/containers/{id}/attach/ws?logs=1&stdout=1") as client:
        assert client.messages() == (b"before\n", 1000)


def test_clients_that_leave_before_the_start_leave_nothing(daemon):
    body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}, "OpenStdin": True}
    id = daemon.json("POST", "/containers/create", body)["Id"]

    def held():
        base = Path("/proc", str(daemon.process.pid))
        return len(os.listdir(base / "fd")), len(os.listdir(base / "task"))

    try:
        descriptors, threads = held()
        clients = [WebSocket(daemon.socket, f"/v1.51/containers/{id}/attach/ws?{QUERY}") for _ in range(30)]
        assert all(client.accepted for client in clients)
        assert held()[0] >= descriptors + 60
        for client in clients:
            client.socket.close()
        deadline = time.monotonic() + 10
        while any(now > before + 5 for now, before in zip(held(), (descriptors, threads), strict=True)):
            assert time.monotonic() < deadline, (
                f"{held()} descriptors and threads, were {descriptors, threads}"
            )
            time.sleep(0.05)
    finally:
        daemon.request("DELETE", f"/containers/{id}?force=1")
