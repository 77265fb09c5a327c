"""The journald driver: what it sends to the journal's socket, and what it makes of journalctl's answers."""

from __future__ import annotations

import array
import json
import os
import socket
import struct

import pytest

from barque.spi.errors import InvalidArgument, NotImplemented
from barque.spi.log import CONTAINER_NAME, CONTAINER_TAG, IMAGE_NAME, LogCapability, LogQuery, LogSpec
from barque_log_journald.plugin import JournaldLog

T0 = 1_700_000_000_123_456_789
ID = "0123456789abcdef" * 4


@pytest.fixture
def journal(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        server.settimeout(5)
        yield server


@pytest.fixture
def driver(tmp_path):
    return JournaldLog("journald", JournaldLog.Config(str(tmp_path / "socket"), str(tmp_path / "journalctl")))


def _spec(**attributes):
    names = {CONTAINER_NAME: "web", IMAGE_NAME: "nginx:1", CONTAINER_TAG: "a-tag"}
    return LogSpec(ID, "/nowhere", {}, {**attributes, **names})


def _parse(entry):
    found = {}
    while entry:
        line, _, rest = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + length], rest[9 + length :]
        found[name.decode()] = value
        entry = rest
    return found


def test_fields_of_an_entry(driver, journal):
    log = driver.log_open(
        _spec(**{"com.example.Some-label": "v", "_hidden": "h", "message": "forged", "9": "x"})
    )
    log.write("stdout", b"hello\n", T0)
    log.write("stderr", b"\n", T0)
    first, second = _parse(journal.recv(65536)), _parse(journal.recv(65536))
    log.close()
    assert first == {
        "CONTAINER_ID": b"0123456789ab",
        "CONTAINER_ID_FULL": ID.encode(),
        "CONTAINER_NAME": b"web",
        "CONTAINER_TAG": b"a-tag",
        "IMAGE_NAME": b"nginx:1",
        "SYSLOG_IDENTIFIER": b"a-tag",
        "SYSLOG_TIMESTAMP": b"2023-11-14T22:13:20.123456789Z",
        "PRIORITY": b"6",
        "MESSAGE": b"hello",
        "COM_EXAMPLE_SOME_LABEL": b"v",
        "HIDDEN": b"h",
    }
    assert (second["PRIORITY"], second["MESSAGE"]) == (b"3", b"")


def test_a_label_cannot_forge_fields(driver, journal):
    log = driver.log_open(_spec(label="one\nPRIORITY=0\nMESSAGE=forged"))
    log.write("stdout", b"true\n", T0)
    log.close()
    entry = _parse(journal.recv(65536))
    assert entry["LABEL"] == b"one\nPRIORITY=0\nMESSAGE=forged"
    assert (entry["PRIORITY"], entry["MESSAGE"]) == (b"6", b"true")


def test_long_lines_are_partial_messages(driver, journal):
    log = driver.log_open(_spec())
    log.write("stdout", b"a" * 40_000 + b"\nb", T0)
    log.close()
    got = [_parse(journal.recv(65536)) for _ in range(4)]
    assert [len(entry["MESSAGE"]) for entry in got] == [16384, 16384, 7232, 1]
    assert ["CONTAINER_PARTIAL_MESSAGE" in entry for entry in got] == [True, True, False, False]


def test_an_entry_too_large_for_a_datagram_goes_in_a_file(driver, journal):
    log = driver.log_open(_spec(big="B" * 400_000))
    log.write("stdout", b"line\n", T0)
    log.close()
    _, ancillary, _, _ = journal.recvmsg(100, socket.CMSG_SPACE(4))
    (fd,) = array.array("i", ancillary[0][2])
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        assert _parse(file.read())["MESSAGE"] == b"line"


@pytest.mark.row("R23")
def test_a_stuck_journal_holds_nobody_up(driver, journal):
    log = driver.log_open(_spec())
    lost, errors = 0, set()
    for _ in range(2000):
        try:
            log.write("stdout", b"x" * 1000 + b"\n", T0)
        except OSError as error:
            errors.add(str(error))
            lost += 1
    assert lost > 1000
    assert errors == {"[Errno 105] the journal does not take entries as fast as they come"}
    while lost:
        journal.recv(65536)
        lost -= 1
        journal.setblocking(False)
        try:
            while True:
                journal.recv(65536)
        except BlockingIOError:
            break
    log.write("stdout", b"again\n", T0)
    log.close()
    journal.settimeout(5)
    assert _parse(journal.recv(65536))["MESSAGE"] == b"again"


def test_a_journal_that_is_away_is_an_error_of_the_write(driver, journal, tmp_path):
    log = driver.log_open(_spec())
    log.write("stdout", b"one\n", T0)
    journal.close()
    os.unlink(tmp_path / "socket")
    for why in ("refused", "journald is not enabled on this host: there is no"):
        with pytest.raises(OSError, match=why):
            log.write("stdout", b"two\n", T0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        log.write("stdout", b"three\n", T0)
        assert _parse(server.recv(65536))["MESSAGE"] == b"three"
    log.close()


def test_without_journalctl_nothing_is_read(driver):
    assert LogCapability.READ not in driver.capabilities
    with pytest.raises(NotImplemented, match="configured logging driver does not support reading"):
        driver.log_read(_spec(), LogQuery())


def _journalctl(tmp_path, entries, tail=""):
    """A program that shows these entries and its own arguments."""
    lines = "\n".join(json.dumps(entry) for entry in entries)
    path = tmp_path / "journalctl"
    (tmp_path / "entries").write_text(lines + "\n")
    path.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat {tmp_path}/entries\n{tail}\n')
    path.chmod(0o755)
    return JournaldLog("journald", JournaldLog.Config(str(tmp_path / "socket"), str(path)))


def _entry(message, priority="6", **more):
    return {"MESSAGE": message, "PRIORITY": priority, "__REALTIME_TIMESTAMP": "1700000000000001", **more}


def test_entries_are_read_with_journalctl(tmp_path):
    driver = _journalctl(
        tmp_path,
        [
            _entry("one"), _entry([255, 254], "3"), _entry("part", CONTAINER_PARTIAL_MESSAGE="true"),
            _entry(None), {"MESSAGE": "x"}, _entry("x", "1"), [1], "x",
            _entry("last", SYSLOG_TIMESTAMP="2023-11-14T22:13:20.123456789Z"),
        ],
    )  # fmt: skip
    assert {LogCapability.READ, LogCapability.FOLLOW} < driver.capabilities
    found = list(driver.log_read(_spec(), LogQuery(tail=7, since_ns=1_600_000_000_000_000_000)))
    assert [(e.stream, e.data) for e in found if e.data != b"None\n"] == [
        ("stdout", b"one\n"), ("stderr", b"\xff\xfe\n"), ("stdout", b"part"), ("stdout", b"last\n"),
    ]  # fmt: skip
    assert found[0].time_ns == 1_700_000_000_000_001_000
    assert found[-1].time_ns == T0
    arguments = (tmp_path / "arguments").read_text().split()
    assert f"CONTAINER_ID_FULL={ID}" in arguments
    assert "--lines=7" in arguments
    assert "--since=@1600000000" in arguments
    assert "--follow" not in arguments


def test_following_ends_when_the_container_has(tmp_path):
    driver = _journalctl(tmp_path, [_entry("one")], tail="exec sleep 100")
    query = LogQuery(follow=True, finished=lambda: True)
    assert [entry.data for entry in driver.log_read(_spec(), query)] == [b"one\n"]


@pytest.mark.parametrize(
    "options", [{"x": "y"}, {"mode": "x"}, {"max-buffer-size": "1m"}, {"labels-regex": "("}]
)
def test_options_that_are_refused(driver, options):
    with pytest.raises(InvalidArgument):
        driver.log_validate(options)
