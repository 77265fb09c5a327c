"""`barque-runtime update` and the hook `runtime_update`: all new limits, or on an error the old ones."""

from __future__ import annotations

import json

import pytest
from native_bundle import make_rootfs
from native_cgroups import UNIFIED, CgroupBox, disk, only_v1, only_v2

from barque.spi.errors import (
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from barque_runtime_native.plugin import NativeRuntime

pytestmark = pytest.mark.root
MIB = 1 << 20


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("update"))


@pytest.fixture
def box(tmp_path, rootfs):
    box = CgroupBox(tmp_path, rootfs)
    yield box
    box.close()


@pytest.fixture
def running(box):
    config = box.config("sleep", "1000")
    config["linux"]["resources"] = {
        "memory": {"limit": 64 * MIB, "swap": 128 * MIB, "reservation": 32 * MIB},
        "cpu": {"shares": 1024, "quota": 50000, "period": 100000},
        "pids": {"limit": 100},
    }
    box.start(config=config)
    return box


def memory(box):
    """(limit, limit of memory and swap)."""
    limit, swap = (
        int(box.read("memory", *files))
        for files in (
            ("memory.limit_in_bytes", "memory.max"),
            ("memory.memsw.limit_in_bytes", "memory.swap.max"),
        )
    )
    return limit, swap + limit if UNIFIED else swap


def hook(box, resources):
    NativeRuntime("native", NativeRuntime.Config()).runtime_update("box", str(box.root), resources)


def test_options(running):
    result = running.call(
        "update", "--memory", "48m", "--memory-swap", "96M", "--memory-reservation", "16mb", "--cpu-share", "512",
        "--cpu-quota", "20000", "--cpu-period", "40000", "--cpu-burst", "5000", "--cpuset-cpus", "0",
        "--cpuset-mems", "0", "--pids-limit", "7", "box",
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert memory(running) == (48 * MIB, 96 * MIB)
    assert running.read("memory", "memory.soft_limit_in_bytes", "memory.low") == str(16 * MIB)
    assert running.read("cpu", "cpu.shares", "cpu.weight") == ("20" if UNIFIED else "512")
    assert running.read("cpu", "cpu.cfs_quota_us", "cpu.max") == ("20000 40000" if UNIFIED else "20000")
    assert running.read("cpu", "cpu.cfs_burst_us", "cpu.max.burst") == "5000"
    assert running.read("cpuset", "cpuset.cpus") == "0"
    assert running.read("pids", "pids.max") == "7"


def test_idle(running):
    assert running.call("update", "--cpu-idle", "1", "box").returncode == 0
    assert running.read("cpu", "cpu.idle") == "1"
    assert running.call("update", "--cpu-idle", "0", "box").returncode == 0
    assert running.read("cpu", "cpu.idle") == "0"


@pytest.mark.parametrize("source", ["file", "-"])
def test_resources_as_json(running, source):
    text = json.dumps({"pids": {"limit": 11}, "memory": {"limit": 0}})
    if source == "-":
        path = running.directory / "stdin"
        path.write_text(text)
        with path.open("rb") as stdin:
            result = running.call("update", "--resources", "-", "box", stdin=stdin)
    else:
        (running.directory / "new.json").write_text(text)
        result = running.call("update", "-r", str(running.directory / "new.json"), "--pids-limit", "5", "box")
    assert result.returncode == 0, result.stderr
    assert running.read("pids", "pids.max") == "11"
    assert memory(running) == (64 * MIB, 128 * MIB)


@pytest.mark.parametrize("text", ["[]", "{", '{"pids": {"limit": "many"}}', '{"pids": 1}'])
def test_json_that_is_no_resources(running, text):
    (running.directory / "new.json").write_text(text)
    result = running.call("update", "-r", str(running.directory / "new.json"), "box")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert running.read("pids", "pids.max") == "100"


@pytest.mark.parametrize(("limit", "swap"), [(32, 48), (256, 512), (128, 128), (100, 300), (20, 20)])
def test_memory_and_swap_grow_and_shrink_together(running, limit, swap):
    """v1 refuses a limit above the one of memory and swap at every moment: the order differs."""
    hook(running, {"memory": {"limit": limit * MIB, "swap": swap * MIB}})
    assert memory(running) == (limit * MIB, swap * MIB)


@pytest.mark.parametrize(("quota", "burst"), [(10000, 9000), (90000, 80000)])
def test_quota_and_burst_grow_and_shrink_together(running, quota, burst):
    hook(running, {"cpu": {"quota": 50000, "burst": 40000}})
    hook(running, {"cpu": {"burst": burst, "quota": quota}})
    assert running.read("cpu", "cpu.cfs_burst_us", "cpu.max.burst") == str(burst)


def test_period_alone_keeps_the_quota(running):
    hook(running, {"cpu": {"period": 200000}})
    if UNIFIED:
        assert running.read("", "cpu.max") == "50000 200000"
    else:
        assert running.read("cpu", "cpu.cfs_quota_us") == "50000"


def test_limits_are_lifted(running):
    hook(running, {"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}})
    assert running.read("pids", "pids.max") == "max"
    text = running.read("memory", "memory.memsw.limit_in_bytes", "memory.swap.max")
    assert text == "max" or int(text) > 1 << 62
    assert running.read("cpu", "cpu.cfs_quota_us", "cpu.max") == ("max 100000" if UNIFIED else "-1")


def test_it_is_idempotent(running):
    for _ in range(2):
        hook(running, {"memory": {"limit": 40 * MIB, "swap": 50 * MIB}, "pids": {"limit": 9}})
    assert memory(running) == (40 * MIB, 50 * MIB)


def snapshot(box):
    files = [("pids", "pids.max", None), ("cpu", "cpu.shares", "cpu.weight"), ("cpu", "cpu.cfs_quota_us", "cpu.max"),
             ("memory", "memory.soft_limit_in_bytes", "memory.low"), ("cpuset", "cpuset.cpus", None)]  # fmt: skip
    return memory(box), [box.read(*each) for each in files]


@pytest.mark.parametrize(
    ("wrong", "error", "field"),
    [
        ({"cpus": "77-99"}, InvalidArgument, "linux.resources.cpu.cpus"),
        ({"quota": 5}, InvalidArgument, "linux.resources.cpu.quota"),
    ],
)
def test_error_leaves_the_old_values(running, wrong, error, field):
    before = snapshot(running)
    resources = {
        "memory": {"limit": 300 * MIB, "swap": 400 * MIB, "reservation": MIB},
        "cpu": {"shares": 100, "quota": 10000, **wrong},
        "pids": {"limit": 5},
    }
    with pytest.raises(error, match=field.replace(".", r"\.")):
        hook(running, resources)
    assert snapshot(running) == before


def test_throttles_come_back_too(running):
    major, minor = disk()
    device = {"major": major, "minor": minor}
    hook(running, {"blockIO": {"throttleReadBpsDevice": [{**device, "rate": 5000}]}})
    before = running.read("blkio", "blkio.throttle.read_bps_device", "io.max")
    assert f"{major}:{minor} " in before
    with pytest.raises(InvalidArgument):
        hook(
            running,
            {
                "blockIO": {
                    "throttleReadBpsDevice": [{**device, "rate": 9000}],
                    "throttleWriteBpsDevice": [{**device, "rate": 9000}],
                },
                "cpu": {"quota": 3},
            },
        )
    assert running.read("blkio", "blkio.throttle.read_bps_device", "io.max") == before
    assert running.read("blkio", "blkio.throttle.write_bps_device", "io.max") == (before if UNIFIED else "")


@only_v1
def test_limit_below_what_is_in_use(running):
    before = memory(running)
    with pytest.raises(
        ResourceExhausted, match=r"unable to set memory limit to 4096 \(current usage: \d+, peak"
    ):
        hook(running, {"memory": {"limit": 4096}})
    assert memory(running) == before


@only_v2
def test_check_before_update(running):
    before = memory(running)
    with pytest.raises(ResourceExhausted, match="rejecting memory limit 4096 < usage"):
        hook(running, {"memory": {"limit": 4096, "checkBeforeUpdate": True}})
    assert memory(running) == before
    assert running.state()["status"] == "running"


@only_v1
def test_oom_killer_is_turned_off_and_on(running):
    for value in (True, False):
        hook(running, {"memory": {"disableOOMKiller": value}})
        assert running.read("memory", "memory.oom_control").startswith(f"oom_kill_disable {int(value)}")


def test_device_rules_are_not_changed(running):
    hook(running, {"devices": [{"allow": False, "access": "rwm"}]})
    assert running.call("exec", "box", "sh", "-c", "echo >/dev/null").returncode == 0


def test_paused_container_is_updated(running):
    running.call("pause", "box")
    hook(running, {"pids": {"limit": 8}})
    assert running.read("pids", "pids.max") == "8"
    assert running.frozen()


def test_created_container_is_updated(box):
    from native_bundle import write_config

    write_config(box.bundle, box.config("true"))
    box.detached("create", "-b", str(box.bundle), "box")
    hook(box, {"pids": {"limit": 8}})
    assert box.read("pids", "pids.max") == "8"


def test_errors_by_class(running):
    with pytest.raises(NotFound):
        NativeRuntime("native", NativeRuntime.Config()).runtime_update("nobody", str(running.root), {})
    with pytest.raises(FailedPrecondition, match=r"linux\.resources\.rdma\.mlx5_1"):
        hook(running, {"rdma": {"mlx5_1": {"hcaHandles": 1}}})
    assert running.call("kill", "box", "KILL").returncode == 0
    import time

    for _ in range(500):
        if running.state()["status"] == "stopped":
            break
        time.sleep(0.01)
    with pytest.raises(Conflict):
        hook(running, {"pids": {"limit": 8}})
    assert "container not running" in running.call("update", "--pids-limit", "9", "box").stderr


@pytest.mark.parametrize(
    ("option", "value"), [("memory", "lots"), ("pids-limit", "x"), ("memory", "1..5g"), ("cpu-quota", "1.5")]
)
def test_wrong_value_names_the_option(running, option, value):
    result = running.call("update", f"--{option}", value, "box")
    assert result.returncode == 1
    assert f"--{option}" in result.stderr
    assert value in result.stderr
