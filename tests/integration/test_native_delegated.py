"""An ordinary user with cgroups of his own: limits work below them, and nothing above is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from native_bundle import COMMAND, import_paths, make_rootfs
from native_cgroups import ROOT, UNIFIED, only_v2

from barque.testing import need

pytestmark = pytest.mark.root
USER = 65534
NAME = f"barque-test-delegated-{os.getpid()}"
CONTROLLERS = ("memory", "pids", "freezer")


def give(directory, *files):
    for path in (directory, *(directory / file for file in files)):
        os.chown(path, USER, USER)


def delegate():
    """The user's cgroups, and the one of v2 in which he starts."""
    if not UNIFIED:
        for controller in CONTROLLERS:
            (ROOT / controller / NAME).mkdir()
            give(ROOT / controller / NAME)
        return None
    (ROOT / "cgroup.subtree_control").write_text("+memory +pids")
    (ROOT / NAME / "session").mkdir(parents=True)
    (ROOT / NAME / "cgroup.subtree_control").write_text("+memory")
    for directory in (ROOT / NAME, ROOT / NAME / "session"):
        give(directory, "cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
    return ROOT / NAME / "session/cgroup.procs"


def take_back():
    for top in [ROOT / NAME] if UNIFIED else [ROOT / controller / NAME for controller in CONTROLLERS]:
        for directory in (top / "session", top):
            deadline = time.monotonic() + 5
            while directory.is_dir():
                try:
                    directory.rmdir()
                except OSError:
                    assert time.monotonic() < deadline, list(directory.iterdir())
                    time.sleep(0.02)


class Delegated:
    """The runtime as this user, in his cgroup."""

    def __init__(self, directory, entrance):
        self.directory = directory
        self.entrance = entrance

    def call(self, *words):
        enter = f"echo $$ >{self.entrance}; " if self.entrance else ""
        user = f"setpriv --reuid {USER} --regid {USER} --clear-groups"
        with (self.directory / "out").open("w+") as out:
            status = subprocess.run(
                ["sh", "-c", f'{enter}exec {user} "$@"', "sh", *COMMAND, "--root", str(self.directory / "state"), *words],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=60, check=False, cwd=self.directory / "bundle",
                env={"PATH": "/usr/sbin:/usr/bin:/bin", "PYTHONPATH": import_paths()},
            ).returncode  # fmt: skip
            out.seek(0)
            return status, out.read()

    def write(self, resources, *args):
        path = self.directory / "bundle/config.json"
        path.unlink(missing_ok=True)
        assert self.call("spec", "--rootless")[0] == 0
        config = json.loads(path.read_text())
        config["process"].update(terminal=False, args=list(args))
        config["linux"].update(resources=resources, cgroupsPath="box" if UNIFIED else f"/{NAME}/box")
        path.write_text(json.dumps(config))

    def file(self, controller, name):
        top = ROOT if UNIFIED else ROOT / controller
        return (top / NAME / "box" / name).read_text().strip()


@pytest.fixture
def user():
    need.tool("setpriv")
    directory = Path(tempfile.mkdtemp(prefix="barque-delegated-"))
    directory.chmod(0o755)
    (directory / "bundle").mkdir()
    make_rootfs(directory / "bundle/rootfs")
    for path in (directory, *directory.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)
    try:
        user = Delegated(directory, delegate())
        yield user
        user.call("delete", "-f", "box")
    finally:
        take_back()
        shutil.rmtree(directory)


def test_limits_in_cgroups_of_his_own(user):
    user.write({"memory": {"limit": 64 << 20}, "pids": {"limit": 20}}, "sleep", "1000")
    before = (ROOT / "cgroup.subtree_control").read_text() if UNIFIED else ""
    status, said = user.call("run", "-d", "box")
    assert status == 0, said
    assert user.file("memory", "memory.max" if UNIFIED else "memory.limit_in_bytes") == str(64 << 20)
    assert user.file("pids", "pids.max") == "20"
    assert user.call("exec", "box", "true") == (0, "")
    assert user.call("pause", "box") == (0, "")
    assert '"paused"' in user.call("state", "box")[1]
    assert user.call("resume", "box") == (0, "")
    assert user.call("update", "--pids-limit", "9", "box") == (0, "")
    assert user.file("pids", "pids.max") == "9"
    assert len(json.loads(user.call("ps", "-f", "json", "box")[1])) == 1
    assert user.call("delete", "-f", "box") == (0, "")
    if UNIFIED:
        assert (ROOT / "cgroup.subtree_control").read_text() == before


def test_limit_whose_controller_he_does_not_have(user):
    resources, field = (
        ({"rdma": {"mlx5_1": {"hcaHandles": 1}}}, "linux.resources.rdma.mlx5_1")
        if UNIFIED
        else ({"cpu": {"shares": 512}}, "linux.resources.cpu.shares")
    )
    if UNIFIED and "rdma" in (ROOT / NAME / "cgroup.controllers").read_text().split():
        pytest.skip("he has it: the containers of root have it handed down")
    user.write(resources, "true")
    status, said = user.call("run", "box")
    assert status == 1
    assert field in said
    assert "Delegate=" in said


@only_v2
def test_user_who_is_not_in_his_cgroups(user):
    """The kernel lets him move nobody into them: so without limits there is no cgroup, and with limits a clear error."""
    user.entrance = None
    user.write({}, "true")
    path = user.directory / "bundle/config.json"
    config = json.loads(path.read_text())
    config["linux"]["cgroupsPath"] = f"/{NAME}/box"
    path.write_text(json.dumps(config))
    assert user.call("run", "box") == (0, "")
    config["linux"]["resources"] = {"pids": {"limit": 5}}
    path.write_text(json.dumps(config))
    status, said = user.call("run", "box")
    assert status == 1
    assert "linux.resources.pids.limit" in said
    assert "Delegate=" in said
