"""`barque.testing.verify`: a kit run in a child pytest, its results, and what is said when it cannot be run."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from barque.spi import errors
from barque.testing import need, verify, verify_kits
from barque.testing.verify import Outcome, Report
from barque.testing.verify_document import page, table
from barque.testing.verify_kits import option_value, subject_named


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-P", "-m", "barque.testing.verify", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


def test_results_of_a_driver():
    done = command("run", "log:none", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["driver"] == "log:none"
    results = {outcome["test"]: outcome for outcome in report["outcomes"]}
    assert results["test_writer_closes_twice"]["result"] == "passed"
    skipped = results["test_tail[0]"]
    assert (skipped["result"], skipped["reason"]) == ("skipped", "the driver does not declare read")


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A log driver with defects: its subject, and a place to import it from."""
    (tmp_path / "broken_log.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    return verify_kits.Subject("log", "broken", "none", {}, "broken")


BROKEN = """
from barque.spi.errors import InvalidArgument
from barque_log_jsonfile.none import NoneLog


class BrokenLog(NoneLog):
    conformance_excuses = {"test_remove_twice": "it is sold once"}

    def log_validate(self, options):
        raise InvalidArgument("never\\nmind")

    def log_remove(self, spec):
        raise ZeroDivisionError
"""


def test_a_defect_is_told_in_one_line_and_an_excuse_with_its_reason(broken, monkeypatch, tmp_path):
    # The child finds `broken_log` where the installed driver is looked up.
    (tmp_path / "sitecustomize.py").write_text(
        "from barque.testing import verify_kits\n"
        "import broken_log\n"
        "verify_kits.load_class = lambda found: broken_log.BrokenLog\n"
    )
    told = []
    report = verify.verify(broken, lambda done, expected: told.append((done, expected)))
    results = {outcome.test: outcome for outcome in report.outcomes}
    assert report.count("failed") > 0
    failed = results["test_validated_options_are_valid"]
    assert failed.result == "failed"
    assert failed.reason == "barque.spi.errors.InvalidArgument: never"
    assert results["test_remove_twice"].reason == "excused: it is sold once"
    assert told[-1] == (len(report.outcomes), len(report.outcomes))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["runtime"], "KIND:NAME"),
        (["frontend:docker"], "no conformance kit for kind frontend"),
        (["nothing:x"], "'nothing' is not a kind"),
        (["runtime:nope"], "no runtime driver 'nope' is installed"),
        (["runtime:runc", "--set", "nonsense"], "KEY=VALUE"),
        (["runtime:nope", "--profile", "default"], "profile default has no runtime.nope"),
        (["image:deb"], "--reference"),
    ],
)
def test_what_cannot_be_verified(arguments, text, capsys):
    assert verify.main(["run", *arguments, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert text in f"{error['message']} {error['hint']}"
    assert verify.main(["run", *arguments]) == 2
    assert text in capsys.readouterr().err


def test_wrong_options_and_hosts_are_told_before_the_kit_runs():
    with pytest.raises(errors.InvalidArgument, match="colour"):
        verify.verify(subject_named("log:none", {"colour": 1}))
    need.root()
    with pytest.raises(errors.FailedPrecondition, match="no-such-runtime was not found"):
        verify.verify(subject_named("runtime:runc", {"path": "no-such-runtime"}))


def test_root_is_asked_for(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(errors.PermissionDenied, match="needs root"):
        verify.verify(subject_named("runtime:native", {}))


def test_pytest_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(verify, "find_spec", lambda name: None)
    assert verify.main(["run", "log:none"]) == 2
    assert "pip install 'barque[dev]'" in capsys.readouterr().err


def test_subject_of_a_profile_and_of_options():
    crun = subject_named("runtime:crun", {"timeout": 5.0}, profile="default")
    assert (crun.driver, crun.options["path"], crun.options["timeout"]) == ("runc", "crun", 5.0)
    assert crun.label == "crun (timeout=5.0)"
    assert subject_named("runtime:crun", {}, profile="default").label == "crun"
    assert subject_named("runtime:runc", {"path": "crun"}).label == "runc (path=crun)"


@pytest.mark.parametrize(
    ("text", "value"),
    [("crun", "crun"), ("5", 5), ("true", True), ('["a"]', ["a"]), ("/a b", "/a b"), ("", "")],
)
def test_values_of_options(text, value):
    assert option_value(text) == value


REPORTS = [
    Report(
        "runtime:one",
        {"version": "one 1.0"},
        (
            Outcome("test_a_thing[1]", "passed", "", 0.1),
            Outcome("test_a_thing[2]", "failed", "assert a | b\nmore", 0.1),
            Outcome("test_other", "skipped", "no such thing", 0.1),
        ),
    ),
    Report("runtime:two", {}, (Outcome("test_other", "skipped", "no such thing", 0.1),)),
]


def test_table_side_by_side():
    lines = table(REPORTS).splitlines()
    assert lines[0] == "| test | one | two |"
    assert "| a thing (2 cases) | **failed** [1] | - |" in lines
    assert "| other | skipped [2] | skipped [2] |" in lines
    assert "| **failed** | **1** | **0** |" in lines
    assert lines[-2:] == ["1. assert a \\| b more", "2. no such thing"]


def test_page_tells_what_it_was_measured_on():
    text = page(REPORTS)
    assert "- runtime:one: one 1.0" in text
    assert f"Linux {os.uname().release}" in text
    assert table(REPORTS) in text
