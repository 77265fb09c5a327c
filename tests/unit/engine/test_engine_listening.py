"""Where the daemon listens: what the options allow (row S32) and what is opened."""

import argparse
import contextlib
import os
import socket
import stat

import pytest

from barque.engine.listening import Listening, add_options
from barque.spi.errors import Conflict, FailedPrecondition, InvalidArgument


def chosen(*arguments):
    parser = argparse.ArgumentParser()
    add_options(parser)
    return Listening.chosen(parser.parse_args(arguments), "unix:///run/x.sock")


@pytest.fixture
def opened():
    """opened(*arguments): the listeners, closed at the end."""
    with contextlib.ExitStack() as closing:
        yield lambda *arguments: chosen(*arguments).open(closing)


@pytest.fixture
def certificates(tmp_path):
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).write_text("x")
    return (
        "--tlscacert",
        f"{tmp_path}/ca.pem",
        "--tlscert",
        f"{tmp_path}/cert.pem",
        "--tlskey",
        f"{tmp_path}/key.pem",
    )


@pytest.mark.row("S32")
@pytest.mark.parametrize("host", ["tcp://127.0.0.1:1", "tcp://", "tcp://:2375", "tcp://[::1]:1"])
def test_tcp_needs_verified_certificates_or_the_word(host, certificates):
    with pytest.raises(FailedPrecondition, match="root on this host") as caught:
        chosen("--host", host)
    assert "--insecure-tcp" in caught.value.hint
    with pytest.raises(FailedPrecondition, match="root on this host"):
        chosen("--host", host, "--tls", *certificates)
    assert chosen("--host", host, "--insecure-tcp").tls is None
    assert chosen("--host", host, "--tlsverify", *certificates).tls.ca.endswith("ca.pem")
    assert chosen("--host", host, "--tls", "--insecure-tcp", *certificates).tls.ca == ""


@pytest.mark.parametrize(
    "host",
    [
        "http://127.0.0.1:1",
        "/run/x.sock",
        "tcp://h:x",
        "tcp://h:99999",
        "tcp://h:1/path",
        "tcp://u@h:1",
        "fd://x",
        "unix://x",
    ],
)
def test_what_is_no_address(host, opened, monkeypatch):
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    with pytest.raises(InvalidArgument, match="--host"):
        opened("--host", host, "--insecure-tcp")


def test_a_missing_file_is_named_at_the_start():
    with pytest.raises(FailedPrecondition, match="--tlscert /nope: No such file"):
        chosen("--host", "tcp://:1", "--tlsverify", "--tlscert", "/nope")
    assert chosen("--tlsverify", "--tlscert", "/nope").hosts == ("unix:///run/x.sock",)


@pytest.mark.row("S32")
def test_a_unix_socket_is_0660_and_nobody_elses_for_a_moment(opened, tmp_path, monkeypatch):
    modes = []
    chmod = os.chmod
    monkeypatch.setattr(
        os, "chmod", lambda path, mode: (modes.append(os.stat(path).st_mode), chmod(path, mode))
    )
    path = tmp_path / "s"
    opened("--host", f"unix://{path}", "--group", str(os.getgid()))
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert stat.S_IMODE(modes[0]) & 0o077 == 0
    assert path.stat().st_gid == os.getgid()


def test_a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not(opened, tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    opened("--host", f"unix://{path}")
    with pytest.raises(Conflict, match="somebody listens"):
        opened("--host", f"unix://{path}")
    (tmp_path / "file").write_text("")
    with pytest.raises(FailedPrecondition, match="is not a socket"):
        opened("--host", f"unix://{tmp_path}/file")
    with pytest.raises(FailedPrecondition, match="group barque-nobody not found"):
        opened("--host", f"unix://{tmp_path}/g", "--group", "barque-nobody")


def test_tcp_listens_where_it_was_told(opened):
    (listener,) = opened("--host", "tcp://127.0.0.1:0", "--insecure-tcp")
    with socket.socket(fileno=os.dup(listener.fd)) as server:
        assert server.getsockname()[0] == "127.0.0.1"
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    assert listener.tls is None


def test_passed_sockets_are_for_this_process_only(monkeypatch):
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert chosen().passed == ()
    assert "LISTEN_FDS" not in os.environ
    monkeypatch.setenv("LISTEN_FDS", "0")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    with pytest.raises(FailedPrecondition, match="no sockets were passed"), contextlib.ExitStack() as closing:
        chosen("--host", "fd://").open(closing)


def test_a_passed_descriptor_must_listen(tmp_path):
    listening = Listening(("fd://",), passed=(os.open("/dev/null", os.O_RDONLY),))
    with pytest.raises(InvalidArgument, match="does not listen"), contextlib.ExitStack() as closing:
        listening.open(closing)
    os.close(listening.passed[0])
