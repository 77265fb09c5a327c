"""The syslog driver: addresses, formats, and servers that are slow, stuck or away."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
import threading
import time

import pytest

from barque.spi.errors import InvalidArgument
from barque.spi.log import CONTAINER_TAG, LogSpec
from barque.testing import need
from barque_log_syslog.options import Settings
from barque_log_syslog.plugin import SyslogLog
from barque_log_syslog.writer import message

T0 = 1_700_000_000_123_456_789
ID = "0123456789abcdef" * 4


@pytest.fixture
def driver():
    return SyslogLog("syslog", SyslogLog.Config())


def _open(driver, tag="", **options):
    named = {name.replace("_", "-"): value for name, value in options.items()}
    attributes = {CONTAINER_TAG: tag} if tag else {}
    return driver.log_open(LogSpec(ID, "/nowhere", driver.log_validate(named), attributes))


def _datagrams(path):
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(str(path))
    server.settimeout(5)
    return server


def test_lines_are_messages_of_the_local_server(driver, tmp_path):
    with _datagrams(tmp_path / "log") as server:
        log = _open(driver, "web/1", syslog_address=f"unixgram://{tmp_path}/log", syslog_facility="local3")
        log.write("stdout", b"one\ntw", T0)
        log.write("stderr", b"bad\n", T0)
        log.write("stdout", b"o\nrest", T0)
        log.close()
        log.close()
        got = [server.recv(65536) for _ in range(4)]
    assert [
        re.sub(rb"[A-Z][a-z]{2} .\d \d\d:\d\d:\d\d", b"DATE", re.sub(rb"\[\d+\]", b"[PID]", m)) for m in got
    ] == [
        b"<158>DATE web/1[PID]: one\n",
        b"<155>DATE web/1[PID]: bad\n",
        b"<158>DATE web/1[PID]: two\n",
        b"<158>DATE web/1[PID]: rest\n",
    ]


def test_udp(driver):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        log = _open(driver, syslog_address=f"udp://127.0.0.1:{server.getsockname()[1]}")
        log.write("stdout", b"x" * 20_000 + b"\n", T0)
        log.close()
        assert [len(server.recv(65536)) > size for size in (16384, 3616)] == [True, True]


def _stream(family=socket.AF_INET, address=("127.0.0.1", 0)):
    server = socket.socket(family, socket.SOCK_STREAM)
    server.bind(address)
    server.listen(4)
    server.settimeout(5)
    return server


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_streams_end_messages_with_newlines(driver, tmp_path, scheme):
    if scheme == "tcp":
        server = _stream()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    else:
        server = _stream(socket.AF_UNIX, str(tmp_path / "s"))
        address = f"unix://{tmp_path}/s"
    with server:
        log = _open(driver, syslog_address=address, syslog_format="rfc5424micro")
        log.write("stdout", b"one\ntwo\n", T0)
        log.close()
        with server.accept()[0] as client:
            text = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    assert [line.rsplit(" - ", 1)[1] for line in text.splitlines()] == ["one", "two"]
    assert re.match(
        r"<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.123456[+-]\d\d:\d\d \S+ 0123456789ab \d+ 0123456789ab - one",
        text,
    )


def test_tls(driver, tmp_path):
    need.tool("openssl")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    more = [
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        str(tmp_path / "key"),
        "-out",
        str(tmp_path / "cert"),
    ]
    subprocess.run([*command.split(), *more], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    got = []

    def serve():
        with context.wrap_socket(server.accept()[0], server_side=True) as client:
            got.append(b"".join(iter(lambda: client.recv(65536), b"")))

    with _stream() as server:
        thread = threading.Thread(target=serve)
        thread.start()
        log = _open(
            driver,
            syslog_address=f"tcp+tls://localhost:{server.getsockname()[1]}",
            syslog_tls_ca_cert=str(tmp_path / "cert"),
            syslog_format="rfc5424",
        )
        log.write("stdout", b"secret\n", T0)
        log.close()
        thread.join(5)
    length, _, text = got[0].partition(b" ")
    assert int(length) == len(text)
    assert text.endswith(b" - secret\n")


def test_a_server_whose_certificate_is_not_known_gets_nothing(driver, tmp_path):
    with _stream() as server:
        thread = threading.Thread(target=lambda: server.accept()[0].close())
        thread.start()
        log = _open(driver, syslog_address=f"tcp+tls://localhost:{server.getsockname()[1]}")
        with pytest.raises(OSError, match=r"."):
            log.write("stdout", b"secret\n", T0)
        thread.join(5)
    with pytest.raises(OSError, match=r"."):
        log.close()


@pytest.mark.row("R23")
@pytest.mark.parametrize("mode", ["blocking", "non-blocking"])
def test_a_stuck_server_holds_nobody_up(driver, mode):
    options = {"max_buffer_size": "64k"} if mode == "non-blocking" else {}
    with _stream() as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        log = _open(driver, syslog_address=address, mode=mode, **options)
        begun, lost, errors = time.monotonic(), 0, set()
        for _ in range(1000):
            try:
                log.write("stdout", b"y" * 16_000 + b"\n", T0)
            except OSError as error:
                errors.add(str(error))
                lost += 1
        assert lost > 100
        assert errors == {"[Errno 105] the log server does not take messages as fast as they come"}
        assert time.monotonic() - begun < 8
        with server.accept()[0] as client:
            client.settimeout(5)
            assert b"y" * 16_000 in client.recv(1 << 20, socket.MSG_WAITALL)
        with contextlib.suppress(OSError):
            log.close()


def test_a_server_that_comes_back_gets_what_waited(driver, tmp_path):
    log = _open(driver, syslog_address=f"unixgram://{tmp_path}/log")
    with pytest.raises(OSError, match=r"."):
        log.write("stdout", b"early\n", T0)
    with _datagrams(tmp_path / "log") as server:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                log.write("stdout", b"late\n", T0)
                break
            except OSError:
                time.sleep(0.1)
        assert server.recv(65536).endswith(b": early\n")
        assert server.recv(65536).endswith(b": late\n")
    (tmp_path / "log").unlink()
    with pytest.raises(OSError, match=r"."):
        log.write("stdout", b"gone\n", T0)
    with pytest.raises(OSError, match=r"."):
        log.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"syslog-address": "nowhere"}, "syslog-address should be in form proto://address, got nowhere"),
        ({"syslog-address": "http://x"}, "unsupported protocol family: 'http'"),
        ({"syslog-address": "udp://"}, "invalid syslog-address"),
        ({"syslog-address": "tcp://h:99999"}, "invalid syslog-address"),
        ({"syslog-facility": "24"}, "invalid syslog facility"),
        ({"syslog-format": "x"}, "Invalid syslog format"),
        ({"mode": "x"}, "logging mode not supported: x"),
        ({"max-buffer-size": "1m"}, "max-buffer-size option is only supported"),
        ({"mode": "non-blocking", "max-buffer-size": "x"}, "invalid size"),
        ({"env-regex": "["}, "invalid value for env-regex"),
    ],
)
def test_options_that_are_refused(driver, options, words):
    with pytest.raises(InvalidArgument, match=re.escape(words)):
        driver.log_validate(options)


def test_ports_and_defaults():
    def place(address):
        settings = Settings.of({"syslog-address": address})
        return settings.scheme, settings.host, settings.port

    assert place("") == ("unixgram", "/dev/log", 0)
    assert place("udp://logs") == ("udp", "logs", 514)
    assert place("tcp+tls://[::1]") == ("tcp+tls", "::1", 6514)
    assert Settings.of({}).facility == 3


def test_a_tag_cannot_forge_a_message():
    settings = Settings.of({"syslog-format": "rfc5424"})
    text = message(settings, 30, "a b\n<0>", b"line", T0)
    assert text.count(b"\n") == 1
    assert b" a_b_<0> " in text
