"""The pytest side: markers, the row report, the leak check. Loaded by `tests/conftest.py`; plugin authors may load it too.

pytest --row-report     after the run, a line for each row of the acceptance list, and the score
BARQUE_CI=1             what can be had (root, tools) is required instead of skipped
                        and the leak check looks at the whole host
pytest -n 3             pytest-xdist: each worker looks after its own, and the whole host is looked at before and after all
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator, Mapping

import pytest

from barque.testing import need
from barque.testing.census import SESSION_VARIABLE, Census, Leak, Scope, as_before, no_leaks
from barque.testing.rows import CHAPTERS, Rows

__all__ = ["leak_check"]

_ROWS = pytest.StashKey[Rows]()
_HOST = pytest.StashKey[Census]()
_WORKER = "PYTEST_XDIST_WORKER"
_KITS = (
    "runtime",
    "runtime_confinement",
    "runtime_checkpoints",
    "runtime_control",
    "runtime_crashes",
    "runtime_lifecycle",
    "runtime_lab",
    "runtime_programs",
    "runtime_settings",
    "storage",
    "storage_crashes",
    "storage_layers",
    "storage_mounted",
    "storage_refusals",
    "storage_snapshots",
    "network",
    "network_lab",
    "network_ports",
    "network_restart",
    "image",
    "log",
)
_CHECKED_FOLDERS = ("/tests/integration/", "/tests/e2e/")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--row-report", action="store_true", help="print the acceptance rows and the score after the run"
    )


def pytest_configure(config: pytest.Config) -> None:
    pytest.register_assert_rewrite(*(f"barque.testing.{name}" for name in _KITS))
    config.addinivalue_line("markers", "root: needs root; skipped with a reason for other users")
    config.addinivalue_line("markers", "row(name, ...): the rows of the acceptance list that the test covers")
    config.addinivalue_line(
        "markers", "needs(capability, ...): what the driver must declare for the test of a kit to run"
    )
    for rows in CHAPTERS.values():
        for row in rows:
            config.addinivalue_line("markers", f"{row}: set by row({row!r}), so that -m {row} selects it")
    config.stash[_ROWS] = Rows()
    config.pluginmanager.register(_RowCollector(config.stash[_ROWS]))
    if _WORKER in os.environ or SESSION_VARIABLE not in os.environ:
        os.environ[SESSION_VARIABLE] = secrets.token_hex(8)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for row in {name for marker in item.iter_markers("row") for name in marker.args}:
            item.add_marker(row)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root"):
        need.root()
    if reason := _excuse(item):
        pytest.skip(f"excused: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # A test of a kit that a driver need not pass says nothing about the row.
    # a kit passes over what its driver has not got: that is no gap in the proof
    passed_over = report.skipped and (
        item.get_closest_marker("needs") or _excuse(item) or "the driver" in str(report.longrepr)
    )
    if not passed_over and (report.when == "call" or not report.passed):
        rows = [row for marker in item.iter_markers("row") for row in marker.args]
        report.__dict__["barque_rows"] = rows  # travels with the report from a worker
    return report


class _RowCollector:
    """Counts rows where the reports arrive."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for row in getattr(report, "barque_rows", ()):
            self._rows.add(row, report.outcome)


def pytest_sessionstart(session: pytest.Session) -> None:
    if _is_controller(session.config):
        session.config.stash[_HOST] = Census.take(Scope.host())


def pytest_sessionfinish(session: pytest.Session) -> None:
    before = session.config.stash.get(_HOST, None)
    if before is None:
        return
    try:
        as_before(before, Scope.host())
    except Leak as leak:
        session.config.get_terminal_writer().line(f"\nthe host is {leak}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _is_controller(config: pytest.Config) -> bool:
    """Whether workers run the tests, and the whole host is to be as before at the end."""
    return bool(getattr(config.option, "numprocesses", None)) and os.environ.get("BARQUE_CI") == "1"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--row-report"):
        terminalreporter.section("acceptance rows")
        for line in config.stash[_ROWS].report():
            terminalreporter.line(line)


@pytest.fixture(scope="session", autouse=True)
def leak_check(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Census | None]:
    """Integration and end-to-end tests leave no process, mount, cgroup, link or table behind, all of them together."""
    if not any(folder in str(item.path) for item in request.session.items for folder in _CHECKED_FOLDERS):
        yield None
        return
    whole_host = os.environ.get("BARQUE_CI") == "1" and _WORKER not in os.environ
    scope = Scope(mounts_below=[tmp_path_factory.getbasetemp()], links=whole_host, everything=whole_host)
    with no_leaks(scope) as before:
        yield before


def _excuse(item: pytest.Item) -> str:
    """Why the class of the test excuses it (`barque.testing.kit`); empty when it does not."""
    excused: Mapping[str, str] = getattr(getattr(item, "cls", None), "excused", {})
    return excused.get(getattr(item, "originalname", item.name), "")
