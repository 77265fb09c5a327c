"""`attach?logs=1&stream=1` beside a container that prints: every line, once, in order."""

import socket

import pytest
from registry_image import IMAGE

pytestmark = pytest.mark.root

SCRIPT = "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done; sleep 0.2"


def attached(daemon, id):
    """All that an attach says that begins now, less the answer's head."""
    path = f"/containers/{id}/attach?logs=1&stream=1&stdout=1&stderr=1"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(daemon.socket))
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        client.sendall(head.encode())
        received = b""
        while data := client.recv(65536):
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    assert b" 101 " in head.splitlines()[0], head
    return body


def payload(stream):
    """What is in Docker's frames."""
    found = []
    while stream:
        size = int.from_bytes(stream[4:8], "big")
        found.append(stream[8 : 8 + size])
        stream = stream[8 + size :]
    return b"".join(found)


@pytest.mark.row("R1")
@pytest.mark.parametrize("tty", [False, True])
def test_no_line_is_lost_or_comes_twice(daemon, tty):
    for _ in range(3):
        body = {
            "Image": IMAGE,
            "Cmd": ["sh", "-c", SCRIPT],
            "Tty": tty,
            "HostConfig": {"NetworkMode": "none"},
        }
        id = daemon.json("POST", "/containers/create", body)["Id"]
        try:
            daemon.json("POST", f"/containers/{id}/start")
            stream = attached(daemon, id)
            printed = stream if tty else payload(stream)
            assert printed.split() == [str(number).encode() for number in range(3000)]
        finally:
            daemon.request("DELETE", f"/containers/{id}?force=1")
