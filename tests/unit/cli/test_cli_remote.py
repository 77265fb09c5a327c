"""Daemons elsewhere: TCP with certificates, and ssh."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_fake_daemon import Exchange, FakeDaemon, Request
from cli_program import BARQUE, CORE, environment
from cli_tls_daemon import TlsFront, make_certificates

from barque.cli.addressing import choose
from barque.cli.ssh import _command
from barque.cli.tls_settings import TlsFlags
from barque.testing import need

BIG = os.urandom(3_000_000)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need.tool("openssl")
    return make_certificates(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture
def front(daemon: FakeDaemon, certificates: Path) -> Iterator[TlsFront]:
    front = TlsFront(daemon, certificates)
    yield front
    front.close()


def barque(*words: str, stdin: bytes = b"", **extra: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*BARQUE, *words], input=stdin, capture_output=True, timeout=60, check=False, env=environment(**extra)
    )


def tls_flags(certificates: Path) -> list[str]:
    return ["--tlsverify", "--tlscacert", f"{certificates}/ca.pem", "--tlscert", f"{certificates}/cert.pem",
            "--tlskey", f"{certificates}/key.pem"]  # fmt: skip


def test_tls_by_flags_and_by_variables(daemon: FakeDaemon, front: TlsFront, certificates: Path) -> None:
    daemon.answer("GET /version", {"Version": "9.9"})
    show = ("version", "--format", "{{.Server.Version}}")
    given = barque("-H", front.url, *tls_flags(certificates), *show)
    assert (given.returncode, given.stdout) == (0, b"9.9\n"), given.stderr
    for variables in (
        {"BARQUE_HOST": front.url, "BARQUE_TLS_VERIFY": "1", "BARQUE_CERT_PATH": f"{certificates}"},
        {"DOCKER_HOST": front.url, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": f"{certificates}"},
        {"DOCKER_HOST": front.url, "DOCKER_TLS_VERIFY": "1", "DOCKER_CONFIG": f"{certificates}"},
    ):
        assert barque(*show, **variables).stdout == b"9.9\n"
    unverified = ["--tls", "--tlscert", f"{certificates}/cert.pem", "--tlskey", f"{certificates}/key.pem"]
    assert barque("-H", front.url, *unverified, *show).stdout == b"9.9\n"


def test_tls_refuses_who_is_not_who_it_should_be(
    daemon: FakeDaemon, front: TlsFront, certificates: Path, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path / "other", "other")
    wrong_authority = ["--tlsverify", "--tlscacert", f"{other}/ca.pem", "--tlscert", f"{certificates}/cert.pem",
                       "--tlskey", f"{certificates}/key.pem"]  # fmt: skip
    refused = barque("-H", front.url, *wrong_authority, "ps")
    assert refused.returncode == 1
    assert b"tls: failed to verify certificate" in refused.stderr
    stranger = [
        "--tlsverify",
        "--tlscacert",
        f"{certificates}/ca.pem",
        "--tlscert",
        f"{other}/cert.pem",
        "--tlskey",
        f"{other}/key.pem",
    ]
    refused = barque("-H", front.url, *stranger, "ps")
    assert refused.returncode == 1
    assert b"error during connect: " in refused.stderr
    assert b"tls" in refused.stderr
    nobody = ["--tlsverify", "--tlscacert", f"{certificates}/ca.pem"]
    refused = barque("-H", front.url, *nobody, "ps")
    assert (refused.returncode, b"Traceback" in refused.stderr) == (1, False)
    absent = barque("-H", front.url, "--tlsverify", "--tlscacert", "/nonexistent", "ps")
    assert b"could not read the certificate or key: /nonexistent" in absent.stderr
    assert not daemon.requests


def test_tls_to_what_speaks_none(daemon: FakeDaemon, certificates: Path) -> None:
    import socket
    import threading

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        done = barque("-H", f"tcp://127.0.0.1:{listener.getsockname()[1]}", *tls_flags(certificates), "ps")
        thread.join(10)
    assert b"first record does not look like a TLS handshake" in done.stderr


def echoing(daemon: FakeDaemon) -> None:
    """`exec -i web cat`: what comes goes back once the input has ended."""

    def session(_request: Request, answer: Exchange) -> None:
        answer.upgrade()
        data = answer.receive_all()
        for start in range(0, len(data), 60_000):
            answer.frame(1, data[start : start + 60_000])
        answer.frame(2, b"end\n")
        answer.hang_up()

    daemon.answer("POST /containers/web/exec", {"Id": "e" * 64}, 201)
    daemon.route("POST /exec/.*/start", session)
    daemon.answer("GET /exec/.*/json", {"Running": False, "ExitCode": 7})


def test_a_session_over_tls_ends_its_input_and_hears_the_rest(
    daemon: FakeDaemon, front: TlsFront, certificates: Path
) -> None:
    echoing(daemon)
    done = barque("-H", front.url, *tls_flags(certificates), "exec", "-i", "web", "cat", stdin=BIG)
    assert (done.returncode, done.stderr) == (7, b"end\n")
    assert done.stdout == BIG


def test_default_ports_and_plain_tcp() -> None:
    class Given:
        def given(self, name: str) -> bool:
            return name == "tls"

        def flag(self, _name: str) -> bool:
            return False

        def text(self, _name: str) -> str:
            return ""

    verified = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nonexistent"}
    far = choose("tcp://192.0.2.7", verified)
    assert (far.host, far.port, far.tls is not None) == ("192.0.2.7", 2376, True)
    plain = choose("tcp://192.0.2.7", verified, tls=TlsFlags(Given()))  # type: ignore[arg-type]
    assert (plain.port, plain.tls) == (2375, None)
    assert choose("127.0.0.1", {}).port == 2375


# ssh


FAKE_SSH = f"""#!{sys.executable}
import os, sys
with open(os.environ["SSH_RECORD"], "a") as record:
    record.write(repr(sys.argv[1:]) + "\\n")
if os.environ.get("SSH_FAIL"):
    sys.stderr.write("me@far: Permission denied (publickey).\\n")
    sys.exit(255)
os.execv("/bin/sh", ["sh", "-c", sys.argv[-1]])
"""
FAR_BARQUE = f"""#!/bin/sh
exec {sys.executable} -c 'import sys; sys.path.insert(0, {CORE!r}); from barque.cli.main import main; sys.exit(main())' "$@"
"""


@pytest.fixture
def far(tmp_path: Path, daemon: FakeDaemon) -> dict[str, str]:
    """The environment in which `ssh` is ours, and `barque` on the other machine finds the fake daemon."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (
        ("ssh", FAKE_SSH),
        ("barque", FAR_BARQUE.replace("'/", '"/').replace("core'", 'core"')),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "record").touch()
    # The other machine's own variable leads its `barque` to the daemon; this one's flag counts more than it.
    return {
        "PATH": f"{programs}:/usr/bin:/bin",
        "SSH_RECORD": f"{tmp_path}/record",
        "BARQUE_HOST": daemon.url,
    }


def test_ssh_runs_dial_stdio_there(daemon: FakeDaemon, far: dict[str, str]) -> None:
    daemon.answer("GET /version", {"Version": "9.9"})
    done = barque("-H", "ssh://me@far:2222", "version", "--format", "{{.Server.Version}}", **far)
    assert (done.returncode, done.stdout) == (0, b"9.9\n"), done.stderr
    (arguments,) = (eval(line) for line in Path(far["SSH_RECORD"]).read_text().splitlines())
    assert arguments[:-1] == ["-o", "ConnectTimeout=30", "-T", "-l", "me", "-p", "2222", "--", "far"]
    assert "exec barque system dial-stdio" in arguments[-1]


def test_a_session_over_ssh(daemon: FakeDaemon, far: dict[str, str]) -> None:
    echoing(daemon)
    done = barque("-H", "ssh://far", "exec", "-i", "web", "cat", stdin=BIG, **far)
    assert (done.returncode, done.stderr) == (7, b"end\n")
    assert done.stdout == BIG


def test_ssh_without_barque_there_runs_docker(
    daemon: FakeDaemon, far: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "bin/barque").rename(tmp_path / "bin/docker")
    daemon.answer("GET /containers/json", [])
    done = barque("-H", "ssh://far", "ps", "-q", **far)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert daemon.seen("GET /containers/json")


def test_ssh_that_fails_says_why(far: dict[str, str]) -> None:
    done = barque("-H", "ssh://me@far", "ps", **far, SSH_FAIL="1")
    assert done.returncode == 1
    assert b"ssh to ssh://me@far ended with status 255" in done.stderr
    assert b"Permission denied (publickey)." in done.stderr
    assert b"Traceback" not in done.stderr


def test_without_ssh_here_no_daemon_is_started(tmp_path: Path) -> None:
    variables = {"PATH": "", "XDG_RUNTIME_DIR": str(tmp_path)}
    done = barque("-H", f"ssh://far{tmp_path}/barque/barque.sock", "ps", **variables)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_path_in_the_address_reaches_the_other_shell_as_one_word(tmp_path: Path) -> None:
    command = _command(choose("ssh://far/run/x'; touch /tmp/evil; '.sock", {}))
    assert command[:-1] == ["ssh", "-o", "ConnectTimeout=30", "-T", "--", "far"]
    recorder = tmp_path / "barque"
    recorder.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    recorder.chmod(0o755)
    run = subprocess.run(
        ["sh", "-c", command[-1]],
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}:/bin"},
        check=True,
    )
    assert run.stdout.splitlines() == [
        "--host",
        "unix:///run/x'; touch /tmp/evil; '.sock",
        "system",
        "dial-stdio",
    ]


def test_events_stop_ssh_when_interrupted(daemon: FakeDaemon, far: dict[str, str], start_cli: Any) -> None:
    import signal
    import time

    def stream(_request: Request, answer: Exchange) -> None:
        answer.begin()
        answer.chunk(b'{"Type": "container", "Action": "start", "timeNano": 1}\n')
        answer.receive()

    daemon.route("GET /events", stream)
    variables = environment(**far)
    process = subprocess.Popen(
        [*BARQUE, "-H", "ssh://far", "events"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().endswith(b"container start\n")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode in (130, -signal.SIGINT), errors
    deadline = time.monotonic() + 5
    while daemon._connections[-1].fileno() != -1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert daemon._connections[-1].fileno() == -1  # dial-stdio went, and with it the stream
