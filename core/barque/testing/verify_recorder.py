"""The pytest plugin of `barque.testing.verify`: tells each test's result as a line of JSON on a descriptor."""

from __future__ import annotations

import json
import os

import pytest

__all__: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--verify-fd", type=int, help="descriptor that results are written to")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Recorder(config.getoption("--verify-fd")), "barque-verify-recorder")


class _Recorder:
    """A test's result is that of its call, or of what failed or skipped before or after it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._tell({"collected": len(session.items)})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            name = report.location[2].partition(".")[2]  # without the class
            self._tell(
                {
                    "test": name,
                    "phase": report.when,
                    "result": report.outcome,
                    "reason": "" if report.passed else _reason(report),
                    "seconds": round(report.duration, 3),
                }
            )

    def _tell(self, row: dict[str, object]) -> None:
        os.write(self._fd, json.dumps(row).encode() + b"\n")


def _reason(report: pytest.TestReport) -> str:
    """Why it was skipped, or the first line of the error."""
    told = report.longrepr
    if isinstance(told, tuple):
        return str(told[2]).removeprefix("Skipped: ")
    crash = getattr(told, "reprcrash", None)
    return str(crash.message if crash is not None else told).strip().partition("\n")[0]
