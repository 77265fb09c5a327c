"""What a hostile client may try on the socket of a real daemon (row S36), and a daemon short of descriptors (row R17)."""

import contextlib
import os
import re
import resource
import shutil
import socket
import tempfile
import time
from pathlib import Path

import pytest
from registry_image import IMAGE, busybox_archive

from barque.testing import need
from barque.testing.daemon import Daemon, Lab

pytestmark = pytest.mark.root
FILES = 256


@pytest.fixture(scope="module")
def short():
    """A daemon that may have 256 open files."""
    for tool in ("docker", "nsenter", "ip"):
        need.tool(tool)
    lab = Lab()
    base = Path(tempfile.mkdtemp(prefix="bq-ht-", dir="/tmp"))
    daemon = Daemon(base, lab)
    try:
        daemon.start()
        archive = base / "bb.tar"
        archive.write_bytes(busybox_archive())
        assert daemon.docker("load", "-i", str(archive)).returncode == 0
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        yield daemon
    finally:
        try:
            daemon.close()
        finally:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.kill()  # a test that failed may have left it without descriptors
            lab.close()
            shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def sleeper(short):
    done = short.docker("run", "-d", "-i", "--network", "none", IMAGE, "sleep", "100000")
    assert done.returncode == 0, done.stderr
    yield done.stdout.strip()
    short.docker("rm", "-f", done.stdout.strip())


def connect(daemon):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(str(daemon.socket))
    return client


def answer(client):
    """The beginning of an answer, or what came of waiting for it."""
    try:
        return client.recv(4096)[:12].decode()
    except OSError as error:
        return type(error).__name__


def use(daemon):
    """Descriptors of the daemon."""
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def settled(daemon, before, timeout=15.0):
    """Its use, once it is no more than before."""
    deadline = time.monotonic() + timeout
    while (now := use(daemon)) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    return now


def memory(daemon):
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])


@pytest.mark.row("S36")
@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 6", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 6"),
        ("Transfer-Encoding: \x0bchunked",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Content-Length: 6", "Content-Length: 6"),
        ("Content-Length: +6",),
        ("Content-Length: 6, 6",),
        ("X: a", " folded: b"),
    ],
    ids=lambda lines: lines[0][:24].strip(),
)
def test_a_request_in_a_request_is_refused(short, lines):
    """One answer, 400, and the connection's end: never an answer to what was hidden in the body."""
    hidden = b"0\r\n\r\nDELETE /containers/x HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(short) as client:
        client.sendall(
            ("POST /containers/x/start HTTP/1.1\r\nHost: x\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode()
            + hidden
        )
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.row("S36")
def test_lines_that_end_as_they_should_not_are_refused(short):
    for head in (
        b"GET /_ping HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
        b"GET /_ping HTTP/1.1\nHost: x\r\n\r\n",
    ):
        with connect(short) as client:
            client.sendall(head)
            assert client.recv(4096).startswith(b"HTTP/1.1 400 "), head


@pytest.mark.row("S36")
def test_a_page_in_a_browser_gets_nothing(short, sleeper):
    for line in ("Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"):
        with connect(short) as client:
            client.sendall(f"GET /containers/{sleeper}/json HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode())
            assert client.recv(4096).startswith(b"HTTP/1.1 403 "), line


@pytest.mark.row("S36")
def test_500_half_open_connections_get_clean_answers_and_leave_nothing(short):
    """Twice as many as the daemon has descriptors: those beyond are told, somebody else is served, and all is given back."""
    before, silent, told = use(short), [], 0
    for number in range(500):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        try:
            client.connect(str(short.socket))
        except OSError:
            client.close()
            break
        if number % 2:
            client.sendall(b"POST /containers/create HTTP/1.1\r\nHost:")
        silent.append(client)
    time.sleep(1)
    for client in silent:
        client.setblocking(False)
        with contextlib.suppress(OSError):
            told += client.recv(4096).startswith(b"HTTP/1.1 503 ")
    assert told > 20
    for client in silent:
        client.close()
    assert settled(short, before) <= before
    assert short.answers()


@pytest.mark.row("R17")
def test_300_attaches_with_256_descriptors_and_then_it_goes_on(short):
    """To a container that is not started the daemon keeps them all. Every client hears something, and none is left hanging."""
    made = short.docker("create", "-i", "--network", "none", IMAGE, "cat")
    assert made.returncode == 0, made.stderr
    name = made.stdout.strip()
    path = f"/containers/{name}/attach?stream=1&stdin=1&stdout=1"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n".encode()
    before, clients = use(short), []
    try:
        for _ in range(300):
            clients.append(connect(short))
            with contextlib.suppress(OSError):  # told and closed before it had asked
                clients[-1].sendall(head)
        answers = [answer(client) for client in clients]
    finally:
        for client in clients:
            client.close()
    kinds = set(answers)
    assert "HTTP/1.1 101" in kinds
    assert kinds & {"HTTP/1.1 503", "BrokenPipeError", "ConnectionResetError"}, kinds
    assert kinds <= {"HTTP/1.1 101", "HTTP/1.1 503", "BrokenPipeError", "ConnectionResetError"}, kinds
    assert settled(short, before) <= before
    done = short.docker("run", "--rm", "-i", "--network", "none", IMAGE, "cat", stdin=b"again")
    assert (done.returncode, done.stdout) == (0, "again"), done.stderr
    short.docker("rm", "-f", name)


@pytest.mark.row("S36")
@pytest.mark.row("R17")
def test_300_abandoned_attaches_to_a_running_container_leave_nothing(short, sleeper):
    path = f"/containers/{sleeper}/attach?stream=1&stdin=1&stdout=1"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n".encode()
    before = use(short)
    clients = []
    for _ in range(6):  # fifty at a time: each is with the shim when its client has the answer
        batch = [connect(short) for _ in range(50)]
        for client in batch:
            client.sendall(head)
        assert {answer(client) for client in batch} == {"HTTP/1.1 101"}
        clients += batch
    for client in clients:
        client.close()
    assert settled(short, before) <= before
    done = short.docker("exec", sleeper, "echo", "fine")
    assert done.stdout == "fine\n"


@pytest.mark.row("S36")
def test_a_connection_costs_little_memory(short):
    """150 idle connections: a thread and a buffer each, and the memory comes back to who connects next."""
    first = memory(short)
    clients = [connect(short) for _ in range(150)]
    for client in clients:
        client.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
    grown = memory(short) - first
    for client in clients:
        client.close()
    assert grown < 150 * 100, f"{grown / 150:.0f} KiB a connection"
