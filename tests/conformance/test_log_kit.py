"""The log drivers pass the conformance kit of kind `log`."""

from __future__ import annotations

import pytest

from barque.testing.log import LogConformance
from barque_log_jsonfile.none import NoneLog
from barque_log_jsonfile.plugin import JsonFileLog
from barque_log_local.plugin import LocalLog


class TestJsonFile(LogConformance):
    @pytest.fixture
    def driver(self):
        return JsonFileLog("json-file", JsonFileLog.Config())

    @pytest.fixture
    def small_options(self):
        return {"max-size": "10k", "max-file": "100"}


class TestLocal(LogConformance):
    @pytest.fixture
    def driver(self):
        return LocalLog("local", LocalLog.Config())

    @pytest.fixture
    def small_options(self):
        return {"max-size": "10k", "max-file": "100"}


class TestNone(LogConformance):
    @pytest.fixture
    def driver(self):
        return NoneLog("none", NoneLog.Config())
