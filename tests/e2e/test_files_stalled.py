"""A client that asks for a stopped container's files and does not read them: nobody else hangs for long."""

import socket
import tempfile
import time
from pathlib import Path

import pytest
from images_lab import write_profile
from registry_image import IMAGE

from barque.testing.daemon import Daemon

pytestmark = pytest.mark.root

PATIENCE = 3.0


@pytest.fixture
def impatient(lab, workspace, registry):
    base = Path(tempfile.mkdtemp(dir=workspace))
    daemon = Daemon(base, lab, write_profile(base / "p.toml", docker={"write_timeout": PATIENCE}))
    try:
        daemon.start()
        assert daemon.docker("pull", "-q", IMAGE).returncode == 0
        yield daemon
    finally:
        daemon.close()


def stalled(daemon, path):
    """A connection that asked and reads nothing but the head's first bytes."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(daemon.socket))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert client.recv(15) == b"HTTP/1.1 200 OK"
    return client


@pytest.mark.parametrize("what", ["archive?path=/tmp/big", "export"])
def test_a_stalled_reader_holds_a_stopped_container_for_a_bounded_time(impatient, what):
    daemon = impatient
    dd = ("dd", "if=/dev/zero", "of=/tmp/big", "bs=1M", "count=48")
    id = daemon.docker("run", "-d", "--network", "none", IMAGE, *dd).stdout.strip()
    assert daemon.docker("wait", id).stdout.strip() == "0"
    with stalled(daemon, f"/containers/{id}/{what}"):
        began = time.monotonic()
        assert daemon.json("GET", "/containers/json?all=1")[0]["Id"] == id
        assert daemon.json("GET", f"/containers/{id}/json")["Id"] == id
        assert time.monotonic() - began < PATIENCE / 2, "looking at containers waits for a copy"
        status, answer = daemon.request("DELETE", f"/containers/{id}?force=1", timeout=PATIENCE + 15)
        assert status == 204, answer
        assert time.monotonic() - began > PATIENCE / 2, "it was removed below a copy"
    assert daemon.json("GET", "/containers/json?all=1") == []
