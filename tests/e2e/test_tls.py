"""TCP with certificates (row S32): the docker CLI and raw sockets against a daemon in a network namespace of its own."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import ssl
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from registry_image import IMAGE, busybox_archive
from tls_lab import Authority

from barque.testing import need
from barque.testing.daemon import Daemon, Lab

pytestmark = pytest.mark.root
PORT = 2376
CLEAR = 2375


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    need.tool("openssl")
    authority = Authority(tmp_path_factory.mktemp("tls"))
    authority.server = authority.sign("server", "serverAuth", "IP:127.0.0.1,DNS:localhost")
    authority.alice = authority.sign("alice", "clientAuth")
    return authority


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A client with a certificate of another authority, that trusts ours."""
    other = Authority(tmp_path_factory.mktemp("other"), "other")
    return other.sign("mallory", "clientAuth")


@pytest.fixture(scope="module")
def served(authority):
    """A daemon that listens on TCP with certificates, and its client's command."""
    for tool in ("docker", "nsenter", "ip"):
        need.tool(tool)
    lab = Lab()
    base = Path(tempfile.mkdtemp(prefix="bq-tls-", dir="/tmp"))
    daemon = Daemon(base, lab)
    place = authority.server
    daemon.arguments = (
        "--host", f"tcp://127.0.0.1:{PORT}", "--tlsverify", "--tlscacert", f"{authority.ca}", "--tlscert",
        f"{place}/cert.pem", "--tlskey", f"{place}/key.pem",
    )  # fmt: skip
    try:
        daemon.start()
        archive = base / "bb.tar"
        archive.write_bytes(busybox_archive())
        assert daemon.docker("load", "-i", str(archive)).returncode == 0
        yield daemon
    finally:
        daemon.close()
        lab.close()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def docker(served, authority):
    """docker(*arguments, certificates=…): the docker CLI over TCP with certificates."""

    def run(*arguments, certificates=authority.alice, timeout=60, **options):
        command = [
            *served.lab.enter, "docker", "-H", f"tcp://127.0.0.1:{PORT}", "--tlsverify", "--tlscacert", str(authority.ca),
            "--tlscert", f"{certificates}/cert.pem", "--tlskey", f"{certificates}/key.pem", *arguments,
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, timeout=timeout, check=False, **options)

    return run


def connected(served, port=PORT):
    """A TCP connection from inside the lab's network namespace."""
    with contextlib.ExitStack() as undo:
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        undo.callback(os.close, own)
        theirs = os.open(f"/proc/{served.process.pid}/ns/net", os.O_RDONLY)
        undo.callback(os.close, theirs)
        found = []

        def connect():  # a thread of its own: it never comes back from the namespace
            import ctypes

            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.setns(theirs, 0x40000000) == 0
            found.append(socket.create_connection(("127.0.0.1", port), 10))

        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()
    return found[0]


def threads(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/task"))


def fds(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def settled(look, most, timeout=8.0):
    """What `look()` gives, once it is `most` or less."""
    deadline = time.monotonic() + timeout
    while (value := look()) > most and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


@pytest.mark.row("S32")
def test_the_unix_socket_is_for_root_and_a_group(served):
    info = os.stat(served.socket)
    assert stat.S_IMODE(info.st_mode) == 0o660
    assert (info.st_uid, info.st_gid) == (0, 0)


@pytest.mark.row("S32")
def test_a_client_with_a_certificate_is_served(docker):
    assert docker("version", "--format", "{{.Server.Version}}").returncode == 0
    done = docker(
        "run", "--rm", "-i", "--network", "none", IMAGE, "sh", "-c", "cat; echo end >&2", input=b"in and out"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"in and out", b"end\n")


def test_input_of_many_records_ends_before_its_output(docker):
    """The end of stdin (close_notify) reaches the program, and what it says afterwards comes back."""
    data = os.urandom(3 << 20)
    done = docker(
        "run",
        "--rm",
        "-i",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "sha256sum; sleep 0.2; echo late",
        input=data,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert done.stdout.endswith(b"late\n")


def test_much_output_comes_whole_and_an_exec_works(docker):
    started = docker("run", "-d", "--network", "none", IMAGE, "sleep", "1000")
    name = started.stdout.decode().strip()
    try:
        done = docker("exec", name, "sh", "-c", "head -c 8000000 /dev/zero; exit 7")
        assert (done.returncode, len(done.stdout)) == (7, 8_000_000)
        archive = docker("cp", f"{name}:/bin/busybox", "-")
        assert archive.returncode == 0
        assert len(archive.stdout) > 500_000
    finally:
        docker("rm", "-f", name)


@pytest.mark.row("S32")
def test_strangers_are_rejected(docker, served, authority, stranger):
    done = docker("version", certificates=stranger)
    assert done.returncode != 0
    assert b"tls" in done.stderr.lower()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str(authority.ca))
    assert b"HTTP" not in ping(context, connected(served)), "a client without a certificate got an answer"


def ping(context, raw):
    """What comes for a ping; nothing if the handshake or the reading fails."""
    try:
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as client:
            client.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
            return client.recv(4096)
    except OSError:
        return b""


@pytest.mark.row("S32")
def test_old_versions_of_tls_are_refused(served, authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str(authority.ca))
    context.load_cert_chain(authority.alice / "cert.pem", authority.alice / "key.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.set_alpn_protocols(["http/1.1"])
    assert b"200 OK" in ping(context, connected(served))
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert ping(context, connected(served)) == b""


def test_http_in_clear_is_answered_in_clear(served):
    with connected(served) as raw:
        raw.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert b"HTTP request to an HTTPS server" in answer


@pytest.mark.row("S36")
def test_half_open_handshakes_do_not_keep_others_waiting(served, docker):
    """Clients that connect and say nothing, or half a hello, hold neither the accepting thread nor anything for ever."""
    before = threads(served), fds(served)
    silent = [connected(served) for _ in range(60)]
    for one in silent[:30]:
        one.sendall(b"\x16\x03\x01\x02\x00\x01")
    began = time.monotonic()
    assert docker("version").returncode == 0
    assert time.monotonic() - began < 8
    for one in silent:
        one.close()
    assert settled(lambda: threads(served), before[0]) <= before[0]
    assert settled(lambda: fds(served), before[1]) <= before[1]


@pytest.mark.row("S36")
def test_strangers_cannot_use_up_all_connections(served):
    """As many as the daemon serves at all connect over TCP and show no certificate: who is let in elsewhere is still served."""
    before = threads(served), fds(served)
    with contextlib.ExitStack() as silent:
        for _ in range(1010):
            silent.enter_context(connected(served))
        assert served.docker("version").returncode == 0
    assert settled(lambda: threads(served), before[0]) <= before[0]
    assert settled(lambda: fds(served), before[1]) <= before[1]


@pytest.mark.row("S36")
def test_an_abandoned_attach_over_tls_leaves_nothing(served, docker, authority):
    started = docker("run", "-d", "--network", "none", IMAGE, "sh", "-c", "while sleep 0.1; do echo x; done")
    name = started.stdout.decode().strip()
    try:
        before = threads(served), fds(served)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(str(authority.ca))
        context.load_cert_chain(authority.alice / "cert.pem", authority.alice / "key.pem")
        for _ in range(10):
            client = context.wrap_socket(connected(served), server_hostname="127.0.0.1")
            path = f"/containers/{name}/attach?stream=1&stdout=1&stdin=1"
            client.sendall(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n".encode()
            )
            assert client.recv(12) == b"HTTP/1.1 101"
            client.close()
        assert settled(lambda: threads(served), before[0]) <= before[0]
        assert settled(lambda: fds(served), before[1]) <= before[1]
    finally:
        docker("rm", "-f", name)


@pytest.fixture
def tunnel(authority):
    """tunnel(patience) gives a connected client, which takes next to nothing, the server's tunnel, and its thread, at work."""
    from barque.spi.frontend import Tls
    from barque_api_docker.limits import Limits
    from barque_api_docker.tls import Terminator

    place, opened = authority.place / "server", []

    def connect(patience):
        tls = Tls(str(place / "cert.pem"), str(place / "key.pem"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(listener.getsockname())
            accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        greeted = []
        greeting = threading.Thread(target=lambda: greeted.append(context.wrap_socket(client)))
        greeting.start()
        tunnel = Terminator(tls, Limits(write_timeout=patience)).handshake(accepted)
        greeting.join(10)
        thread = threading.Thread(target=tunnel.run)
        thread.start()
        opened.append((greeted[0], tunnel, thread))
        return opened[-1]

    yield connect
    for client, tunnel, thread in opened:
        client.close()
        tunnel.inner.close()
        thread.join(10)


def fill(sock):
    """Send until nothing more is taken."""
    sock.settimeout(0.5)
    with contextlib.suppress(OSError):
        while True:
            sock.send(bytes(1 << 16))


def counted_waits(monkeypatch):
    from barque_api_docker.tls import Tunnel

    waits, wait = [], Tunnel._wait
    monkeypatch.setattr(Tunnel, "_wait", lambda self: waits.append(1) or wait(self))
    return waits


@pytest.mark.row("S36")
def test_a_deaf_client_is_left_in_time_and_costs_nothing_until_then(tunnel, monkeypatch):
    """It takes nothing of an answer, and the server has given up: no busy loop, and not for ever."""
    waits = counted_waits(monkeypatch)
    _client, served, thread = tunnel(patience=2)
    fill(served.inner)
    served.inner.close()
    thread.join(1)
    assert thread.is_alive()
    assert len(waits) < 100
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.row("S36")
def test_a_client_that_resets_is_left_though_its_input_is_not_taken(tunnel, monkeypatch):
    waits = counted_waits(monkeypatch)
    client, _served, thread = tunnel(patience=60)
    fill(client)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(waits) < 1000


@pytest.mark.row("S32")
def test_the_daemon_does_not_start_with_tcp_for_anybody(tmp_path):
    command = [
        sys.executable,
        "-m",
        "barque.engine.daemon",
        "--root",
        f"{tmp_path}/root",
        "--run-dir",
        f"{tmp_path}/run",
    ]
    done = subprocess.run(
        [*command, "--host", "tcp://127.0.0.1:1"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "root on this host" in done.stderr
    assert "--insecure-tcp" in done.stderr


def test_a_group_activation_and_tcp_in_clear_when_told_so():
    """One more daemon: a group of its own, a passed socket, and plain TCP because it was asked for by name."""
    lab = Lab()
    base = Path(tempfile.mkdtemp(prefix="bq-fd-", dir="/tmp"))
    daemon = Daemon(base, lab)
    try:
        activation = base / "passed.sock"
        run_by = (
            "import os,socket,sys\n"
            f"s=socket.socket(socket.AF_UNIX); s.bind({str(activation)!r}); s.listen(5)\n"
            "os.dup2(s.fileno(),3); os.set_inheritable(3,True); os.environ.update(LISTEN_PID=str(os.getpid()),LISTEN_FDS='1')\n"
            "os.execv(sys.executable,[sys.executable,'-m','barque.engine.daemon',*sys.argv[1:]])\n"
        )
        command = [
            *lab.enter, sys.executable, "-c", run_by, "--root", f"{base}/root", "--run-dir", f"{base}/run", "--host", daemon.host,
            "--group", "4711", "--host", "fd://", "--host", f"tcp://127.0.0.1:{CLEAR}", "--insecure-tcp",
            "--profile", daemon.profile,
        ]  # fmt: skip
        with daemon.log.open("ab") as log:
            daemon.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not daemon.answers():
            assert time.monotonic() < deadline, daemon.log.read_text()
            time.sleep(0.05)
        assert os.stat(daemon.socket).st_gid == 4711
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(activation))
            client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            assert b"200 OK" in client.recv(4096)
        assert _status(daemon, "127.0.0.1:2375") == 200
        assert _status(daemon, "docker") == 200
        assert _status(daemon, "evil.example.com:2375") == 403  # a page that made its name lead here
        assert _status(daemon, "docker", "Origin: http://evil.example.com") == 403
    finally:
        daemon.close()
        lab.close()


def _status(daemon, host, *headers):
    with connected(daemon, CLEAR) as client:
        lines = "".join(f"{line}\r\n" for line in headers)
        client.sendall(f"GET /info HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    json.loads(answer.partition(b"\r\n\r\n")[2])
    return int(answer.split()[1])
