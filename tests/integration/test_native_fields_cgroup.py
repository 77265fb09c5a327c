"""What the fields of `linux.resources` do, each read back from the container's control files.

Controllers that the host has compiled in but not mounted are mounted for the test, in a mount namespace of its own.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from native_bundle import COMMAND, import_paths, make_rootfs, write_config
from native_fields import shows, shows_each

pytestmark = pytest.mark.root

UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers").exists()
MIB = 1 << 20


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("cgroup"))


def place(resources, path, value):
    """Set `cpu.shares` and the like."""
    *parents, last = path.split(".")
    for key in parents:
        resources = resources.setdefault(key, {})
    resources[last] = value


def read_back(box, resources, file):
    """The content of a control file of a container with these limits; `file` below the hierarchy's directory."""
    config = box.config("sleep", "1000")
    config["linux"]["resources"] = resources
    box.start(config=config)
    if UNIFIED:
        return Path(f"/sys/fs/cgroup{box.cgroup}/box/{file[1]}").read_text().strip()
    controller = file[0].partition(".")[0]
    return box.cgroup_file(controller, file[0])


# field: (value, others it needs, file of v1, file of v2, what v1 says, what v2 says; None: refused there)
CASES = {
    "cpu.shares": (512, {}, "cpu.shares", "cpu.weight", "512", "20"),
    "cpu.quota": (40000, {}, "cpu.cfs_quota_us", "cpu.max", "40000", "40000 100000"),
    "cpu.period": (50000, {"cpu.quota": 20000}, "cpu.cfs_period_us", "cpu.max", "50000", "20000 50000"),
    "cpu.burst": (10000, {"cpu.quota": 40000}, "cpu.cfs_burst_us", "cpu.max.burst", "10000", "10000"),
    "cpu.idle": (1, {}, "cpu.idle", "cpu.idle", "1", "1"),
    "cpu.cpus": ("0", {}, "cpuset.cpus", "cpuset.cpus", "0", "0"),
    "cpu.mems": ("0", {}, "cpuset.mems", "cpuset.mems", "0", "0"),
    "memory.limit": (64 * MIB, {}, "memory.limit_in_bytes", "memory.max", f"{64 * MIB}", f"{64 * MIB}"),
    "memory.swap": (
        96 * MIB, {"memory.limit": 64 * MIB}, "memory.memsw.limit_in_bytes", "memory.swap.max", f"{96 * MIB}", f"{32 * MIB}",
    ),
    "memory.reservation": (32 * MIB, {}, "memory.soft_limit_in_bytes", "memory.low", f"{32 * MIB}", f"{32 * MIB}"),
    "memory.kernelTCP": (16 * MIB, {}, "memory.kmem.tcp.limit_in_bytes", "", f"{16 * MIB}", None),
    "memory.swappiness": (7, {}, "memory.swappiness", "", "7", None),
    "memory.useHierarchy": (True, {}, "memory.use_hierarchy", "", "1", None),
    "pids.limit": (77, {}, "pids.max", "pids.max", "77", "77"),
}  # fmt: skip


@shows_each({f"linux.resources.{name}": case for name, case in CASES.items()})
def test_limit(box, key, case):
    value, others, v1, v2, on_v1, on_v2 = case
    resources = {}
    for path, other in {key.removeprefix("linux.resources."): value, **others}.items():
        place(resources, path, other)
    expected = on_v2 if UNIFIED else on_v1
    if expected is None:
        assert_refused(box, resources, key)
    else:
        assert read_back(box, resources, (v1, v2)) == expected


def assert_refused(box, resources, key):
    config = box.config("true")
    config["linux"]["resources"] = resources
    result = box.run(config)
    assert result.returncode == 1
    assert key.removesuffix("[]") in result.stderr


@shows("linux.resources.memory.disableOOMKiller")
def test_oom_killer_disabled(box):
    resources = {"memory": {"limit": 64 * MIB, "disableOOMKiller": True}}
    if UNIFIED:
        assert_refused(box, resources, "linux.resources.memory.disableOOMKiller")
    else:
        assert "oom_kill_disable 1" in read_back(box, resources, ("memory.oom_control", ""))


@shows("linux.resources.memory.kernel")
def test_kernel_memory(box):
    """Gone from the kernel since 5.16 (v1) and never there on v2: then an error by name, or what the kernel took."""
    config = box.config("cat", "/sys/fs/cgroup/memory/memory.kmem.limit_in_bytes")
    config["linux"]["resources"] = {"memory": {"kernel": 64 * MIB}}
    result = box.run(config)
    if result.returncode:
        assert "linux.resources.memory.kernel" in result.stderr
    else:
        assert result.stdout.strip() == str(64 * MIB)


@shows("linux.resources.cpu.realtimePeriod", "linux.resources.cpu.realtimeRuntime")
def test_real_time(box):
    resources = {"cpu": {"realtimePeriod": 500000, "realtimeRuntime": 10000}}
    if not Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        assert_refused(box, resources, "linux.resources.cpu.realtime")
        return
    parent = Path(f"/sys/fs/cgroup/cpu{box.cgroup}")
    parent.mkdir()
    (parent / "cpu.rt_runtime_us").write_text("40000")
    assert read_back(box, resources, ("cpu.rt_runtime_us", "")) == "10000"
    assert box.cgroup_file("cpu", "cpu.rt_period_us") == "500000"


@pytest.fixture
def disk():
    """major:minor of a block device whose queue takes throttles."""
    for path in sorted(Path("/sys/block").glob("*")):
        if not path.name.startswith(("ram", "sr", "fd")):
            return tuple(map(int, (path / "dev").read_text().split(":")))
    pytest.fail("no block device")


THROTTLES = {
    "throttleReadBpsDevice": ("blkio.throttle.read_bps_device", "rbps"),
    "throttleWriteBpsDevice": ("blkio.throttle.write_bps_device", "wbps"),
    "throttleReadIOPSDevice": ("blkio.throttle.read_iops_device", "riops"),
    "throttleWriteIOPSDevice": ("blkio.throttle.write_iops_device", "wiops"),
}


@shows_each(
    {
        f"linux.resources.blockIO.{name}[].{field}": (name, *file)
        for name, file in THROTTLES.items()
        for field in ("major", "minor", "rate")
    }
)
def test_throttle(box, disk, key, case):
    name, v1, v2 = case
    major, minor = disk
    resources = {"blockIO": {name: [{"major": major, "minor": minor, "rate": 1234567}]}}
    found = read_back(box, resources, (v1, "io.max"))
    expected = f"{major}:{minor} {v2}=1234567" if UNIFIED else f"{major}:{minor} 1234567"
    assert expected in found or f"{v2}=1234567" in found


@shows_each(
    [
        f"linux.resources.blockIO.{name}"
        for name in ("weight", "leafWeight", *(f"weightDevice[].{field}" for field in ("major", "minor", "weight", "leafWeight")))
    ]
)  # fmt: skip
def test_weight(box, disk, key):
    """The files come with the BFQ scheduler (or io.cost); without, an error by name."""
    major, minor = disk
    name = "leafWeight" if key.endswith("leafWeight") else "weight"
    block = {name: 321}
    if "Device" in key:
        block = {"weightDevice": [{"major": major, "minor": minor, name: 321}]}
    config = box.config("sleep", "1000")
    config["linux"]["resources"] = {"blockIO": block}
    write_config(box.bundle, config)
    log = box.directory / "log"
    with log.open("wb") as output:
        code = subprocess.run(
            [*COMMAND, "--root", str(box.root), "run", "-d", "-b", str(box.bundle), "box"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60, check=False,
            env={**os.environ, "PYTHONPATH": import_paths()},
        ).returncode  # fmt: skip
    if code:
        assert "linux.resources.blockIO." in log.read_text()
        assert name in log.read_text()
    else:
        texts = [
            path.read_text() for path in Path("/sys/fs/cgroup").glob(f"**/{box.cgroup[1:]}/box/*weight*")
        ]
        assert any("321" in text for text in texts)


# Controllers that are mounted for the test

WITH_HIERARCHY = """
mkdir -p "$PLACE/$HIERARCHY"
# busy: as long as another test has it, with other controllers, or as it goes
for i in $(seq 100); do mount -t cgroup -o "$HIERARCHY" none "$PLACE/$HIERARCHY" 2>/dev/null && ok=1 && break; sleep 0.1; done
[ "$ok" ] || exit 77
"$@"; code=$?
rmdir "$PLACE/$HIERARCHY$CGROUP" 2>/dev/null
# a hierarchy goes with its last mount only once its cgroups are gone for good
for i in $(seq 100); do [ "$(awk -v c="$HIERARCHY" '$1 == c { print $3 }' /proc/cgroups)" = 1 ] && break; sleep 0.05; done
umount "$PLACE/$HIERARCHY"; exit $code
"""


def run_with(box, controller, resources, file):
    """The output of a container that reads a file of a v1 hierarchy which only its runtime sees mounted."""
    config = box.config("cat", f"/sys/fs/cgroup/{controller}/{file}")
    config["linux"]["resources"] = resources
    write_config(box.bundle, config)
    result = box.call(
        "run", "-b", str(box.bundle), "box",
        before=["env", f"HIERARCHY={controller}", f"CGROUP={box.cgroup}", f"PLACE={box.directory}/cgroup",
                "unshare", "-m", "--propagation", "private", "sh", "-c", WITH_HIERARCHY, "sh"],
    )  # fmt: skip
    if result.returncode == 77:
        pytest.fail(f"this kernel has no {controller}: {result.stderr}")
    return result


def there(controller):
    """Whether the kernel has the controller free to mount as v1."""
    lines = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()]
    beside = Path("/sys/fs/cgroup/unified/cgroup.subtree_control")
    if UNIFIED or (beside.exists() and controller in beside.read_text().split()):
        return False  # used by v2
    return any(line[0] == controller and line[3] == "1" for line in lines)


def huge(limit):
    return {"hugepageLimits": [{"pageSize": "2MB", "limit": limit}]}


def priority(value):
    return {"network": {"priorities": [{"name": "lo", "priority": value}]}}


# field: (controller, resources, file, a line of it)
UNMOUNTED = {
    "hugepageLimits[].pageSize": ("hugetlb", huge(4 * MIB), "hugetlb.2MB.limit_in_bytes", f"{4 * MIB}"),
    "hugepageLimits[].limit": ("hugetlb", huge(6 * MIB), "hugetlb.2MB.limit_in_bytes", f"{6 * MIB}"),
    "network.classID": ("net_cls", {"network": {"classID": 1 << 20}}, "net_cls.classid", f"{1 << 20}"),
    "network.priorities[].name": ("net_prio", priority(5), "net_prio.ifpriomap", "lo 5"),
    "network.priorities[].priority": ("net_prio", priority(6), "net_prio.ifpriomap", "lo 6"),
}


@shows_each({f"linux.resources.{name}": case for name, case in UNMOUNTED.items()})
def test_controller_that_may_be_missing(box, key, case):
    controller, resources, file, expected = case
    if UNIFIED and controller in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split():
        assert read_back(box, resources, ("", file.replace("limit_in_bytes", "max"))) == expected
        return
    if not Path(f"/sys/fs/cgroup/{controller}").exists():
        assert_refused(box, resources, key.partition("[")[0])
    if there(controller):
        result = run_with(box, controller, resources, file)
        assert expected in result.stdout.splitlines(), result


# On v2 alone: the hybrid's v2 hierarchy has no controllers, but its own limits

ONLY_V2 = """
umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit 77
before=" $(cat /sys/fs/cgroup/cgroup.subtree_control) "
"$@"; code=$?
rmdir /sys/fs/cgroup$CGROUP 2>/dev/null
# a runtime hands all controllers down on v2: here one that is kept could not be mounted as v1 any more
for c in $(cat /sys/fs/cgroup/cgroup.subtree_control); do
  case "$before" in *" $c "*) ;; *) echo "-$c" >/sys/fs/cgroup/cgroup.subtree_control;; esac
done
exit $code
"""


@shows("linux.resources.unified.*")
def test_unified(box):
    config = box.config("cat", "/sys/fs/cgroup/cgroup.max.depth")
    config["linux"]["resources"] = {"unified": {"cgroup.max.depth": "3"}}
    config["linux"]["namespaces"].append({"type": "cgroup"})
    write_config(box.bundle, config)
    result = box.call(
        "run", "-b", str(box.bundle), "box",
        before=["env", f"CGROUP={box.cgroup}", "unshare", "-m", "--propagation", "private", "sh", "-c", ONLY_V2, "sh"],
    )  # fmt: skip
    assert result.stdout == "3\n", result
    if not UNIFIED:
        assert_refused(box, {"unified": {"cgroup.max.depth": "3"}}, "linux.resources.unified")


# Devices


@shows(*(f"linux.resources.devices[].{name}" for name in ("allow", "type", "major", "minor", "access")))
@shows_each([f"linux.resources.devices[].type={kind}" for kind in "abc"])
def test_device_rules(box, key):
    """The loop control device (c 10:237) and a loop device (b 7:0), each opened for reading, and for reading and writing."""
    kind = key.partition("=")[2]
    rule = {
        "a": {"allow": True, "type": "a", "access": "rwm"},
        "b": {"allow": True, "type": "b", "major": 7, "minor": 0, "access": "r"},
        "c": {"allow": True, "type": "c", "major": 10, "minor": 237, "access": "r"},
    }[kind]
    script = (
        "mknod /dev/k c 10 237; mknod /dev/l b 7 0; "
        "for how in 'true </dev/k' 'true 3<>/dev/k' 'true </dev/l' 'true 3<>/dev/l'; do "
        "sh -c \"$how\" 2>&1 | grep -q 'not permitted' && echo no || echo yes; done"
    )
    config = box.config("sh", "-c", script)
    config["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}, rule]
    expected = {
        "a": ["yes", "yes", "yes", "yes"],
        "b": ["no", "no", "yes", "no"],
        "c": ["yes", "no", "no", "no"],
    }
    assert box.run(config).stdout.split() == expected[kind]


@shows("linux.cgroupsPath")
def test_cgroups_path(box):
    config = box.config("sleep", "1000")
    config["linux"]["cgroupsPath"] = f"{box.cgroup}/box"
    pid = box.start(config=config)
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        name = line.split(":")[1].removeprefix("name=")
        if UNIFIED or (name and Path(f"/sys/fs/cgroup/{name}").is_dir()):
            assert line.endswith(f":{box.cgroup}/box"), line
