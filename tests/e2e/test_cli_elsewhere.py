"""Our command line and a daemon by TCP with certificates and by ssh: sessions with standard input, copies, contexts."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from our_cli import OURS
from registry_image import IMAGE, busybox_archive
from tls_lab import Authority

from barque.testing import need
from barque.testing.daemon import Daemon, Lab

pytestmark = [pytest.mark.root, pytest.mark.row("S32")]
PORT = 2386
CONTENT = os.urandom(2_000_000)

# ssh(1) for the tests: the other machine is this one, its shell what ours would start there.
FAKE_SSH = """#!/bin/sh
for last; do :; done
exec env PATH="$FAR_PATH" BARQUE_HOST="$FAR_HOST" sh -c "$last"
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    need.tool("openssl")
    authority = Authority(tmp_path_factory.mktemp("tls"))
    authority.sign("server", "serverAuth", "IP:127.0.0.1")
    authority.sign("alice", "clientAuth")
    return authority


@pytest.fixture(scope="module")
def place(authority):
    """(daemon, how to reach it by TLS and by ssh: words and environment of our command line)."""
    for tool in ("nsenter", "ip"):
        need.tool(tool)
    lab, base = Lab(), Path(tempfile.mkdtemp(prefix="bq-cli-", dir="/tmp"))
    daemon = Daemon(base, lab)
    server = authority.place / "server"
    daemon.arguments = ("--host", f"tcp://127.0.0.1:{PORT}", "--tlsverify", "--tlscacert", f"{authority.ca}",
                        "--tlscert", f"{server}/cert.pem", "--tlskey", f"{server}/key.pem")  # fmt: skip
    try:
        daemon.start()
        (base / "image.tar").write_bytes(busybox_archive())
        programs = base / "bin"
        programs.mkdir()
        for name, text in (("ssh", FAKE_SSH), ("barque", f'#!/bin/sh\nexec {shlex.join(OURS)} "$@"\n')):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        far = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "FAR_PATH": f"{programs}:/usr/bin:/bin",
            "FAR_HOST": daemon.host,
        }
        alice = authority.place / "alice"
        tls = {
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(alice),
            "BARQUE_HOST": f"tcp://127.0.0.1:{PORT}",
        }
        places = {"tls": tls, "ssh": {**far, "BARQUE_HOST": "ssh://me@far.example"}}
        assert tell(lab, places["tls"], "load", "-q", "-i", str(base / "image.tar")).returncode == 0
        yield lab, places
    finally:
        daemon.close()
        lab.close()
        shutil.rmtree(base, ignore_errors=True)


def tell(lab, variables, *words, stdin=b""):
    """Run our command line in the daemon's network namespace."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "BARQUE_"))}
    environment = {
        **kept,
        "DOCKER_CONFIG": "/nonexistent",
        "BARQUE_CONFIG": "/nonexistent",
        "PYTHONWARNINGS": "error",
        **variables,
    }
    return subprocess.run(
        [*lab.enter, *OURS, *words],
        input=stdin,
        capture_output=True,
        timeout=60,
        env=environment,
        check=False,
    )


@pytest.fixture(params=["tls", "ssh"])
def barque(request, place):
    lab, places = place
    return lambda *words, stdin=b"": tell(lab, places[request.param], *words, stdin=stdin)


def test_standard_input_ends_there_and_the_output_still_comes(barque):
    done = barque(
        "run",
        "--rm",
        "-i",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "cat; echo bye >&2; exit 5",
        stdin=CONTENT,
    )
    assert (done.returncode, done.stderr) == (5, b"bye\n")
    assert done.stdout == CONTENT


def test_several_containers_logs_copies_and_a_wait(barque, tmp_path):
    names = [f"els{number}" for number in range(8)]
    try:
        for name in names:
            started = barque(
                "run", "-d", "--name", name, "--network", "none", IMAGE, "sh", "-c", f"echo {name}; sleep 100"
            )
            assert started.returncode == 0, started.stderr
        assert barque("logs", names[0]).stdout == f"{names[0]}\n".encode()
        (tmp_path / "file").write_bytes(CONTENT)
        assert barque("cp", f"{tmp_path}/file", f"{names[0]}:/file").returncode == 0
        assert barque("cp", f"{names[0]}:/file", f"{tmp_path}/back").returncode == 0
        assert (tmp_path / "back").read_bytes() == CONTENT
        killed = barque("kill", *names)
        assert killed.stdout.decode().split() == names, killed.stderr
        assert barque("wait", *names).stdout.split() == [b"137"] * 8
    finally:
        removed = barque("rm", "-f", *names)
    assert removed.stdout.decode().split() == names


def test_a_daemon_that_is_known_by_a_context(place, authority, tmp_path):
    lab, places = place
    own = {"BARQUE_CONFIG": str(tmp_path), "PATH": places["ssh"]["PATH"],
           "FAR_PATH": places["ssh"]["FAR_PATH"], "FAR_HOST": places["ssh"]["FAR_HOST"]}  # fmt: skip
    alice = authority.place / "alice"
    endpoint = f"host=tcp://127.0.0.1:{PORT},ca={alice}/ca.pem,cert={alice}/cert.pem,key={alice}/key.pem"
    assert tell(lab, own, "context", "create", "lab", "--docker", endpoint).returncode == 0
    assert tell(lab, own, "context", "create", "far", "--docker", "host=ssh://far").returncode == 0
    ids = set()
    for name in ("lab", "far"):
        assert tell(lab, own, "context", "use", name).returncode == 0
        shown = tell(lab, own, "info", "--format", "{{.ID}} {{.ClientInfo.Context}}").stdout.decode().split()
        assert shown[1] == name
        ids.add(shown[0])
    assert len(ids) == 1


def test_a_stranger_is_not_let_in(place, authority, tmp_path_factory):
    lab, places = place
    mallory = Authority(tmp_path_factory.mktemp("other"), "other").sign("mallory", "clientAuth")
    (mallory / "ca.pem").write_bytes(authority.ca.read_bytes())
    done = tell(lab, {**places["tls"], "DOCKER_CERT_PATH": str(mallory)}, "ps")
    assert done.returncode == 1
    assert b"error during connect: tls" in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_address_the_certificate_does_not_have(place):
    lab, places = place
    done = tell(lab, {**places["tls"], "BARQUE_HOST": f"tcp://localhost:{PORT}"}, "ps")
    assert done.returncode == 1
    assert b"Hint: use a name or address that is in the certificate" in done.stderr


def test_what_ssh_said_when_it_did_not_get_through(place):
    lab, places = place
    programs = Path(places["ssh"]["PATH"].partition(":")[0])
    with tempfile.TemporaryDirectory(dir=programs) as other:
        refusing = Path(other, "ssh")
        refusing.write_text("#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n")
        refusing.chmod(0o755)
        done = tell(lab, {**places["ssh"], "PATH": f"{other}:{places['ssh']['PATH']}"}, "ps")
    assert done.returncode == 1
    assert b"ended with status 255" in done.stderr
    assert b"Permission denied (publickey)." in done.stderr
