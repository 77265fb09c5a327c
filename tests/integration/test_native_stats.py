"""`barque-runtime events`, and the hooks that tell what a container uses and who is in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time

import pytest
from native_bundle import COMMAND, import_paths, make_rootfs, write_config
from native_cgroups import UNIFIED, CgroupBox

from barque.spi.errors import Conflict, NotFound
from barque.testing import need
from barque_runtime_native.plugin import NativeRuntime

pytestmark = pytest.mark.root
MIB = 1 << 20


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("stats"))


@pytest.fixture
def box(tmp_path, rootfs):
    box = CgroupBox(tmp_path, rootfs)
    yield box
    box.close()


@pytest.fixture
def driver():
    return NativeRuntime("native", NativeRuntime.Config())


def busy(box):
    config = box.config(
        "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000 & sleep 1000 & wait"
    )
    config["linux"]["resources"] = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 50},
                                    "cpu": {"quota": 50000, "period": 100000}}  # fmt: skip
    pid = box.start(config=config)
    deadline = time.monotonic() + 20
    while len(box.pids()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return pid


def test_stats(box, driver):
    busy(box)
    found = driver.runtime_stats("box", str(box.root))
    assert found.cpu_total > 10_000_000
    assert found.cpu_user + found.cpu_system > 0
    assert bool(found.cpu_per_cpu) is not UNIFIED
    assert found.cpu_periods >= found.cpu_throttled_periods >= 0
    assert 0 < found.memory_usage <= 64 * MIB
    assert found.memory_limit == 64 * MIB
    assert found.memory_detail["pgfault"] > 0
    assert (found.pids_current, found.pids_limit) == (3, 50)
    later = driver.runtime_stats("box", str(box.root))
    assert later.cpu_total >= found.cpu_total


def test_no_limit_is_zero(box, driver):
    config = box.config("sleep", "1000")
    config["linux"]["resources"] = {}
    box.start(config=config)
    found = driver.runtime_stats("box", str(box.root))
    assert (found.memory_limit, found.pids_limit) == (0, 0)


def test_stats_of_a_container_that_is_not_there_or_has_stopped(box, driver):
    with pytest.raises(NotFound):
        driver.runtime_stats("nobody", str(box.root))
    box.start("true")
    while box.state()["status"] != "stopped":
        time.sleep(0.01)
    with pytest.raises(Conflict):
        driver.runtime_stats("box", str(box.root))
    assert "container with id box is not running" in box.call("events", "--stats", "box").stderr


def test_processes(box, driver):
    pid = busy(box)
    found = driver.runtime_processes("box", str(box.root))
    assert pid in found
    assert list(found) == sorted(box.pids())
    with pytest.raises(NotFound):
        driver.runtime_processes("nobody", str(box.root))
    box.call("kill", "--all", "box", "KILL")
    deadline = time.monotonic() + 5
    while driver.runtime_processes("box", str(box.root)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_pause_and_resume_are_idempotent(box, driver):
    box.start("sleep", "1000")
    for _ in range(2):
        driver.runtime_pause("box", str(box.root))
        assert driver.runtime_state("box", str(box.root)).status == "paused"
    for _ in range(2):
        driver.runtime_resume("box", str(box.root))
        assert driver.runtime_state("box", str(box.root)).status == "running"
    with pytest.raises(NotFound):
        driver.runtime_pause("nobody", str(box.root))


def test_created_container_is_not_paused(box, driver):
    write_config(box.bundle, box.config("true"))
    box.detached("create", "-b", str(box.bundle), "box")
    for call in (driver.runtime_pause, driver.runtime_resume):
        with pytest.raises(Conflict):
            call("box", str(box.root))


def shape(value):
    """Keys and types."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def test_line_of_events_has_the_shape_of_runcs(box, tmp_path, rootfs):
    need.tool("runc")
    config = box.config("sh", "-c", "while :; do :; done")
    config["linux"]["resources"] = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 50}}
    config["linux"].pop("seccomp")
    box.start(config=config)
    time.sleep(0.3)
    ours = json.loads(box.call("events", "--stats", "box").stdout)
    box.call("delete", "-f", "box")
    runc = ["runc", "--root", str(tmp_path / "runc")]
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([*runc, "run", "-d", "-b", str(box.bundle), "x"], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                       check=True, timeout=30)  # fmt: skip
    try:
        time.sleep(0.3)
        theirs = json.loads(subprocess.check_output([*runc, "events", "--stats", "x"], timeout=30))
    finally:
        subprocess.run([*runc, "delete", "-f", "x"], check=True, timeout=30)
    assert list(ours) == list(theirs)
    assert shape(comparable(ours)) == shape(comparable(theirs))


def comparable(line):
    """Without what another version may lack, and numbers that are left out when they are 0."""
    data = line["data"]
    data["memory"].pop("raw")
    for name in ("usage", "swap", "kernel", "kernelTCP"):
        for key in ("max", "usage"):
            data["memory"][name].pop(key, None)
    data["memory"].pop("cache", None)
    data["cpu"].pop("throttling")
    data["cpu"].pop("psi", None)
    data["blkio"] = {}
    return {**line, "data": data}


def reader(box, *words):
    return subprocess.Popen(
        [*COMMAND, "--root", str(box.root), "events", *words, "box"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": import_paths()},
    )  # fmt: skip


def test_events_tell_stats_and_end_with_the_container(box):
    box.start("sleep", "1000")
    with reader(box, "--interval", "50ms") as process:
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        assert [(line["type"], line["id"]) for line in lines] == [("stats", "box")] * 3
        box.call("kill", "box", "KILL")
        assert process.wait(timeout=10) == 0


def test_events_tell_lack_of_memory(box):
    script = "read x; dd if=/dev/zero of=/dev/null bs=200M count=1; sleep 1000"
    config = box.config(
        "sh", "-c", script.replace("read x", "while [ ! -e /dev/shm/go ]; do sleep 0.05; done")
    )
    config["linux"]["resources"] = {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}
    box.start(config=config)
    with reader(box, "--interval", "1h") as process:
        time.sleep(1.0)
        assert box.call("exec", "box", "touch", "/dev/shm/go").returncode == 0
        line = json.loads(process.stdout.readline())
        assert line == {"type": "oom", "id": "box"}
        box.call("kill", "box", "KILL")
        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize("interval", ["0s", "-5s", "soon", "5", "1..5s"])
def test_wrong_interval(box, interval):
    box.start("sleep", "1000")
    result = box.call("events", f"--interval={interval}", "box")
    assert result.returncode == 1
    assert "interval" in result.stderr


def test_ps(box):
    if not shutil.which("ps"):
        pytest.skip("needs ps")
    pid = box.start("sleep", "1000")
    lines = box.call("ps", "box").stdout.splitlines()
    assert lines[0].split()[:3] == ["UID", "PID", "PPID"]
    assert [line.split()[1] for line in lines[1:]] == [str(pid)]
    assert box.call("ps", "box", "-o", "pid,comm").stdout.split() == ["PID", "COMMAND", str(pid), "sleep"]
