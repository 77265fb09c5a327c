"""The pytest plugin, in a pytest of its own: root and need, the row report, excuses of a kit, the leak check."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from barque.testing.rows import CHAPTERS, Rows


@pytest.fixture
def run(tmp_path):
    """Run `source` as tests/<folder>/test_it.py; the output."""

    def runner(source, *options, folder="unit", **environment):
        path = tmp_path / "tests" / folder
        path.mkdir(parents=True)
        (path / "test_it.py").write_text(source)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "barque.testing.pytest_plugin",
            "-p",
            "no:cacheprovider",
        ]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "BARQUE_CI": "", **environment}
        options = [*options, "-ra", "--rootdir", str(tmp_path), "-c", os.devnull, str(path)]
        return subprocess.run(
            [*command, *options], capture_output=True, text=True, env=env, timeout=60
        ).stdout

    return runner


NEEDS_A_TOOL = """
from barque.testing import need

def test_tool():
    need.tool("no-such-tool")
"""


def test_missing_tool_skips(run):
    output = run(NEEDS_A_TOOL)
    assert "1 skipped" in output
    assert "needs no-such-tool (apt install no-such-tool)" in output


def test_missing_tool_fails_where_it_is_promised(run):
    output = run(NEEDS_A_TOOL, BARQUE_CI="1")
    assert "1 failed" in output
    assert "BARQUE_CI=1, but: needs no-such-tool" in output


ROOT = """
import os, pytest

os.geteuid = lambda: {uid}

@pytest.mark.root
def test_root():
    assert os.geteuid() == 0
"""


def test_root_marker(run, tmp_path):
    assert "1 passed" in run(ROOT.format(uid=0), folder="a")
    assert "needs root" in run(ROOT.format(uid=1000), folder="b")
    assert "1 error" in run(ROOT.format(uid=1000), folder="c", BARQUE_CI="1")


ROWS = """
import pytest

@pytest.mark.row("R1", "S3")
def test_good(): pass

@pytest.mark.row("R2")
def test_bad(): assert False

@pytest.mark.row("R3")
def test_skipped(): pytest.skip("no")

@pytest.fixture
def broken(): yield; assert False

@pytest.mark.row("R4")
def test_teardown(broken): pass

@pytest.mark.row("X9")
def test_unknown(): pass
"""


def test_row_report(run):
    output = run(ROWS, "--row-report")
    assert "R1  [3] passed (1 passed)" in output
    assert "R2  [3] FAILED (1 failed)" in output
    assert "R3  [3] FAILED (1 skipped)" in output
    assert "R4  [3] FAILED (1 failed, 1 passed)" in output
    assert "R5  [3] no test" in output
    assert "reliability: 3 of 98" in output
    assert "security: 3 of 109" in output
    assert "X9: there is no such row" in output
    assert "reliability" not in run(ROWS, folder="other")


def test_weights_are_those_of_the_list():
    assert {letter: sum(rows.values()) for letter, rows in CHAPTERS.items()} == {"R": 98, "S": 109}
    assert (CHAPTERS["R"]["R8"], CHAPTERS["R"]["R41"], CHAPTERS["S"]["S42"]) == (2, 1, 1)


def test_row_with_one_skipped_test_does_not_count():
    rows = Rows()
    rows.add("R1", "passed")
    assert rows.passed("R1")
    rows.add("R1", "skipped")
    assert not rows.passed("R1")


EXCUSE = """
from barque.testing.kit import Conformance

class Kit(Conformance):
    def test_one(self): assert False
    def test_two(self): pass

class TestMine(Kit):
    excused = {"test_one": "the moon is full"}
"""


def test_excused_test_is_shown_with_its_reason(run):
    output = run(EXCUSE)
    assert "excused: the moon is full" in output
    assert "1 passed, 1 skipped" in output


LEAK = """
import subprocess

def test_leak():
    subprocess.Popen(["sleep", "9"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
"""


def test_leak_of_an_integration_test_fails_the_session(run):
    output = run(LEAK, folder="integration")
    assert "1 passed, 1 error" in output
    assert "sleep 9" in output


def test_unit_tests_are_not_checked(run):
    output = run(LEAK.replace("9", "0.1"), folder="unit", BARQUE_TEST_SESSION="unchecked")
    assert "1 passed" in output
    assert "error" not in output
