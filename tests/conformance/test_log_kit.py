"""The log drivers pass the conformance kit of kind `log`."""

from __future__ import annotations

import socket
from contextlib import contextmanager

import pytest

from barque.testing.log import LogConformance
from barque_log_journald.plugin import JournaldLog
from barque_log_jsonfile.none import NoneLog
from barque_log_jsonfile.plugin import JsonFileLog
from barque_log_local.plugin import LocalLog
from barque_log_syslog.plugin import SyslogLog


class TestJsonFile(LogConformance):
    @pytest.fixture
    def driver(self):
        return JsonFileLog("json-file", JsonFileLog.Config())

    @pytest.fixture
    def small_options(self):
        return {"max-size": "10k", "max-file": "100"}


class TestJsonFileCompressed(TestJsonFile):
    @pytest.fixture
    def small_options(self):
        return {"max-size": "10k", "max-file": "100", "compress": "true"}


class TestLocal(LogConformance):
    @pytest.fixture
    def driver(self):
        return LocalLog("local", LocalLog.Config())

    @pytest.fixture
    def small_options(self):
        return {"max-size": "10k", "max-file": "100"}


class TestSyslog(LogConformance):
    @pytest.fixture
    def driver(self, tmp_path_factory):
        path = str(tmp_path_factory.mktemp("syslog") / "s")
        with _taking(path):
            yield SyslogLog("syslog", SyslogLog.Config(address=f"unixgram://{path}"))


class TestJournald(LogConformance):
    @pytest.fixture
    def driver(self, tmp_path_factory):
        path = str(tmp_path_factory.mktemp("journal") / "s")
        with _taking(path):
            yield JournaldLog("journald", JournaldLog.Config(socket=path, journalctl="/nowhere"))


@contextmanager
def _taking(path):
    """A datagram socket with room for the little that the kit writes to a driver that cannot read."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        yield


class TestNone(LogConformance):
    @pytest.fixture
    def driver(self):
        return NoneLog("none", NoneLog.Config())
