"""What the virtual machine of `make test-vm` promises, and what only its kernel can show: cgroup v2 alone, AppArmor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "tests/integration"))

from native_bundle import Box, make_rootfs  # noqa: E402

from barque.testing import need  # noqa: E402
from barque_runtime_native.cgroup import unified  # noqa: E402

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.environ.get("BARQUE_VM") != "1", reason="runs in the machine of `make test-vm`"),
]
CGROUPS = Path("/sys/fs/cgroup")
PROFILE = """
profile barque-test flags=(attach_disconnected,mediate_deleted) {
  capability, file, mount, signal, network,
  deny /forbidden w,
}
"""


def test_cgroup_v2_is_all_there_is():
    kinds = {line.split()[2] for line in Path("/proc/self/mounts").read_text().splitlines()}
    assert "cgroup2" in kinds
    assert "cgroup" not in kinds
    assert len(Path("/proc/self/cgroup").read_text().splitlines()) == 1


def test_every_controller_can_be_used_below_the_root():
    controllers = set((CGROUPS / "cgroup.controllers").read_text().split())
    assert controllers >= {"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"}


def test_there_is_no_network():
    assert [path.name for path in Path("/sys/class/net").iterdir() if (path / "device").exists()] == []


@pytest.fixture
def box(tmp_path):
    box = Box(tmp_path, make_rootfs(tmp_path / "rootfs"))
    yield box
    box.close()


@pytest.fixture
def profile(tmp_path):
    """An AppArmor profile of the name `barque-test`, loaded."""
    text = tmp_path / "profile"
    text.write_text(PROFILE)
    parser = [need.tool("apparmor_parser"), "--skip-cache"]
    subprocess.run([*parser, "--replace", str(text)], check=True)
    yield "barque-test"
    subprocess.run([*parser, "--remove", str(text)], check=True)


def test_apparmor_profile_confines_run_and_exec(box, profile):
    script = "cat /proc/self/attr/current; echo x > /forbidden; echo $?; echo x > /allowed; echo $?"
    assert box.sh(script, apparmorProfile=profile).splitlines() == [f"{profile} (enforce)", "1", "0"]
    config = box.config("sleep", "1000")
    config["process"]["apparmorProfile"] = profile
    box.start(config=config)
    result = box.call("exec", "box", "sh", "-c", script)
    assert result.stdout.splitlines() == [f"{profile} (enforce)", "1", "0"], result.stderr


def test_apparmor_profile_that_is_not_loaded_is_refused(box):
    config = box.config("true")
    config["process"]["apparmorProfile"] = "barque-nowhere"
    result = box.run(config)
    assert result.returncode == 1
    assert "process.apparmorProfile" in result.stderr
    assert not box.cgroups("/box")


def test_without_a_profile_a_container_is_unconfined(box):
    assert box.sh("cat /proc/self/attr/current") == "unconfined\n"


def test_a_write_that_enables_nothing_is_taken_and_changes_nothing():
    """What waits for a neighbour that is handing controllers down at that moment."""
    before = (CGROUPS / "cgroup.subtree_control").read_text()
    assert unified.enable(str(CGROUPS), set()) == 0
    assert (CGROUPS / "cgroup.subtree_control").read_text() == before
