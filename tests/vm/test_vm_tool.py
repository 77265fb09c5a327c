"""The tool behind `make test-vm`, without a machine: what it asks for, what it makes of the answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "tools"))

from vm import __main__ as tool  # noqa: E402
from vm import answer, base, images  # noqa: E402

FACTS = {"status": 1, "kernel": "6.1", "boot": 3.0, "seconds": 20.5}
DOCUMENT = '<testsuites><testsuite tests="10" failures="2" errors="1" skipped="3"></testsuite></testsuites>'


def test_answer_counts_what_ran():
    found = answer.parse(f"{json.dumps(FACTS)}\n{DOCUMENT}\n")
    assert (found.status, found.passed, found.failed, found.skipped, found.ran) == (1, 4, 3, 3, 7)
    assert found.describe().startswith("Linux 6.1: 7 tests ran (4 passed, 3 failed), 3 skipped")


@pytest.mark.parametrize("text", ["", json.dumps(FACTS), f"{json.dumps(FACTS)}\n{DOCUMENT[:-5]}"])
def test_answer_that_breaks_off_is_none(text):
    with pytest.raises(ValueError, match="before it had reported"):
        answer.parse(text)


def test_selections_find_their_tests():
    everything = tool.paths(CHECKOUT, tool.EVERYTHING)
    assert "tests/conformance/test_runtime_kit.py" in everything
    assert {*tool.paths(CHECKOUT, tool.QUICK), *tool.paths(CHECKOUT, tool.SYSTEMD)} <= {*everything}
    assert "tests/integration/test_native_resources.py" in tool.paths(CHECKOUT, tool.QUICK)
    assert "tests/integration/test_native_systemd.py" in tool.paths(CHECKOUT, tool.SYSTEMD)


def test_selection_leaves_out_what_hypothesis_generates(tmp_path):
    (tmp_path / "test_a.py").write_text("from hypothesis import given\n")
    (tmp_path / "test_b.py").write_text("import os\n")
    assert tool.paths(tmp_path, tool.Selection(("test_*.py",), 1)) == ["test_b.py"]


def test_arguments_may_name_the_tests_themselves():
    assert tool.names_tests(CHECKOUT, ["-x", "tests/unit/test_docs.py::test_links"])
    assert not tool.names_tests(CHECKOUT, ["-k", "start", "--maxfail=1"])


def test_cache_follows_what_goes_into_it(monkeypatch, tmp_path):
    first = base.key()
    monkeypatch.setattr(base, "PACKAGES", [*base.PACKAGES, "another"])
    assert base.key() != first
    records = tmp_path / "lib/python3.11/site-packages/x.dist-info"
    records.mkdir(parents=True)
    (records / "RECORD").write_text("x.py,,\n")
    environment = images.environment_key(tmp_path)
    (records / "RECORD").write_text("x.py,,\ny.py,,\n")
    assert images.environment_key(tmp_path) != environment


def test_cache_keeps_the_newest_only(tmp_path):
    for name in ("base-1.img", "base-2.img", "environment-1.img"):
        (tmp_path / name).touch()
    base.forget(tmp_path, "base-*", tmp_path / "base-2.img")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base-2.img", "environment-1.img"]


def test_checkout_image_holds_the_work_in_progress_and_the_arguments(tmp_path):
    if not shutil.which("debugfs", path="/usr/sbin:/sbin"):
        pytest.skip("needs debugfs (apt install e2fsprogs)")
    checkout, image = tmp_path / "mine", tmp_path / "image"
    for name in ("core", "plugins", ".git", ".venv"):
        (checkout / name).mkdir(parents=True)
    (checkout / "core/new.py").write_text("new = 1\n")
    (checkout / ".git/secret").touch()
    images.make_checkout(checkout, image, sys.executable, ["-k", "a b"])

    def listed(what):
        return subprocess.run(
            ["/usr/sbin/debugfs", "-R", what, str(image)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    assert listed("cat core/new.py") == "new = 1\n"
    assert json.loads(listed(f"cat {images.ARGUMENTS}")) == ["-k", "a b"]
    assert ".git" not in listed("ls -p /")
    assert "new.cpython-" in listed("ls -p core/__pycache__")
    assert listed("ls -p .venv").count("\n/") <= 2
