"""`examples/authorization_roles`, installed as a stranger's distribution: its own tests, `barque plugin verify`, and a daemon with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from example_install import EXAMPLES, install_example

from barque.profiles.loading import locate
from barque.testing import need
from barque.testing.daemon import Daemon, Lab


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return install_example("authorization_roles", tmp_path_factory.mktemp("example"))


def run(environment, *command):
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_its_own_tests_pass(environment):
    tests = str(EXAMPLES / "authorization_roles" / "tests")
    options = ("-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", tests)
    done = run(environment, sys.executable, "-m", "pytest", *options, tests)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert " passed" in done.stdout


def test_it_is_verified_by_name(environment):
    barque = str(Path(sys.executable).with_name("barque"))
    done = run(environment, barque, "plugin", "verify", "authorization:roles")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


@pytest.mark.root
@pytest.mark.row("S35")
def test_a_daemon_with_it_lets_strangers_look_and_no_more(environment, tmp_path):
    for tool in ("nsenter", "ip"):
        need.tool(tool)
    profile = tmp_path / "roles.toml"
    profile.write_text(
        locate("default").path.read_text() + '\n[authorization.roles]\nadministrators = ["alice"]\n'
    )
    base = Path(tempfile.mkdtemp(prefix="bq-", dir="/tmp"))
    lab = Lab()
    daemon = Daemon(base, lab, str(profile), environment)
    try:
        daemon.start()
        assert daemon.request("GET", "/info")[0] == 200
        status, answer = daemon.request("POST", "/containers/create", {"Image": "x"})
        assert status == 403
        assert json.loads(answer)["message"] == "authorization denied by plugin roles: uid:0 may only look"
    finally:
        daemon.stop()
        lab.close()
        shutil.rmtree(base, ignore_errors=True)
