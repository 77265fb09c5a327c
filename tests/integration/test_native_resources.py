"""`linux.resources` and `linux.cgroupsPath`: what the kernel's files say afterwards, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from native_bundle import COMMAND, import_paths, make_rootfs, mount, write_config
from native_cgroups import ROOT, UNIFIED, CgroupBox, disk, has_file, only_v1, only_v2

from barque.testing.runtime_lab import eventually
from barque_runtime_native.cgroup import control as cgroup

pytestmark = pytest.mark.root
MIB = 1 << 20


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("resources"))


@pytest.fixture
def box(tmp_path, rootfs):
    box = CgroupBox(tmp_path, rootfs)
    yield box
    box.close()


def with_resources(box, resources, *args):
    config = box.config(*(args or ("sleep", "1000")))
    config["linux"]["resources"] = resources
    return config


def refused(box, resources):
    result = box.run(with_resources(box, resources, "true"))
    assert result.returncode == 1, result
    assert not list(ROOT.glob(f"*{box.cgroup}/box")), "a cgroup is left"
    assert not (ROOT / box.cgroup[1:] / "box").exists(), "a cgroup is left"
    return result.stderr


def test_memory(box):
    memory = {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB, "useHierarchy": not UNIFIED}
    box.start(config=with_resources(box, {"memory": memory}))
    assert box.read("memory", "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    assert box.read("memory", "memory.soft_limit_in_bytes", "memory.low") == str(32 * MIB)
    swap = 32 * MIB if UNIFIED else 96 * MIB
    assert box.read("memory", "memory.memsw.limit_in_bytes", "memory.swap.max") == str(swap)


def test_memory_without_limit(box):
    box.start(config=with_resources(box, {"memory": {"limit": -1}}))
    text = box.read("memory", "memory.limit_in_bytes", "memory.max")
    assert text == "max" or int(text) > 1 << 62


@only_v1
def test_swappiness_and_oom_killer_of_v1(box):
    box.start(config=with_resources(box, {"memory": {"swappiness": 17, "disableOOMKiller": True}}))
    assert box.read("memory", "memory.swappiness") == "17"
    assert box.read("memory", "memory.oom_control").startswith("oom_kill_disable 1")


@only_v1
@pytest.mark.parametrize("key", ["kernel", "kernelTCP"])
def test_kernel_memory_is_limited_or_refused(box, key):
    file = {"kernel": "memory.kmem.limit_in_bytes", "kernelTCP": "memory.kmem.tcp.limit_in_bytes"}[key]
    result = box.run(with_resources(box, {"memory": {key: 16 * MIB}}, "true"))
    if result.returncode:
        assert (
            f"linux.resources.memory.{key} is set but this kernel does not limit kernel memory"
            in result.stderr
        )
    else:
        box.call("delete", "-f", "box")
        box.start(config=with_resources(box, {"memory": {key: 16 * MIB}}))
        assert box.read("memory", file) == str(16 * MIB)


def test_cpu(box):
    cpu = {"shares": 512, "quota": 25000, "period": 50000, "burst": 10000, "cpus": "0", "mems": "0"}
    box.start(config=with_resources(box, {"cpu": cpu}))
    assert box.read("cpu", "cpu.shares", "cpu.weight") == ("20" if UNIFIED else "512")
    assert box.read("cpu", "cpu.cfs_burst_us", "cpu.max.burst") == "10000"
    if UNIFIED:
        assert box.read("cpu", "cpu.max") == "25000 50000"
    else:
        assert box.read("cpu", "cpu.cfs_quota_us") == "25000"
        assert box.read("cpu", "cpu.cfs_period_us") == "50000"
    assert box.read("cpuset", "cpuset.cpus") == "0"
    assert box.read("cpuset", "cpuset.mems") == "0"


def test_cpu_idle(box):
    box.start(config=with_resources(box, {"cpu": {"idle": 1}}))
    assert box.read("cpu", "cpu.idle") == "1"


@only_v1
def test_real_time_runtime(box):
    """The parent has to have some to give."""
    if not has_file("cpu", "cpu.rt_runtime_us"):
        pytest.skip("this kernel does not group real-time processes")
    stderr = refused(box, {"cpu": {"realtimeRuntime": 10000}})
    assert "linux.resources.cpu.realtimeRuntime" in stderr
    assert "parent cgroup real-time runtime first" in stderr
    parent = box.file("cpu", "cpu.rt_runtime_us", "")
    parent.parent.mkdir(exist_ok=True)
    parent.write_text("50000")
    box.start(config=with_resources(box, {"cpu": {"realtimeRuntime": 20000, "realtimePeriod": 500000}}))
    assert box.read("cpu", "cpu.rt_runtime_us") == "20000"
    assert box.read("cpu", "cpu.rt_period_us") == "500000"


def test_pids(box):
    box.start(config=with_resources(box, {"pids": {"limit": 33}}))
    assert box.read("pids", "pids.max") == "33"


def test_no_limit_of_pids(box):
    box.start(config=with_resources(box, {"pids": {"limit": -1}}))
    assert box.read("pids", "pids.max") == "max"


def test_throttles_of_a_disk(box):
    major, minor = disk()
    device = {"major": major, "minor": minor}
    keys = (
        "throttleReadBpsDevice",
        "throttleWriteBpsDevice",
        "throttleReadIOPSDevice",
        "throttleWriteIOPSDevice",
    )
    block = {key: [{**device, "rate": 4096 + index}] for index, key in enumerate(keys)}
    box.start(config=with_resources(box, {"blockIO": block}))
    if UNIFIED:
        assert box.read("", "io.max") == f"{major}:{minor} rbps=4096 wbps=4097 riops=4098 wiops=4099"
        return
    files = ("read_bps_device", "write_bps_device", "read_iops_device", "write_iops_device")
    found = [box.read("blkio", f"blkio.throttle.{file}") for file in files]
    assert found == [f"{major}:{minor} {4096 + index}" for index in range(4)]


def weight_file():
    names = ("io.bfq.weight", "io.weight") if UNIFIED else ("blkio.weight", "blkio.bfq.weight")
    return next((name for name in names if has_file("blkio", name)), None)


def test_block_weights(box):
    file = weight_file()
    if file is None:
        assert "linux.resources.blockIO.weight is set but this kernel has no" in refused(
            box, {"blockIO": {"weight": 300}}
        )
        return
    box.start(config=with_resources(box, {"blockIO": {"weight": 300}}))
    found = box.read("blkio", file).split("\n")[0].removeprefix("default ")
    assert found == ("2930" if file == "io.weight" else "300")


def error_of_start(box, config):
    """What it says when it does not start."""
    try:
        box.start(config=config)
    except AssertionError as error:
        return str(error)
    return ""


def test_weight_of_a_disk(box):
    """A scheduler takes one only for a disk that it schedules."""
    file = weight_file()
    major, minor = disk()
    resources = {"blockIO": {"weightDevice": [{"major": major, "minor": minor, "weight": 700}]}}
    if error := error_of_start(box, with_resources(box, resources)):
        assert "linux.resources.blockIO.weightDevice[0].weight" in error
        assert file is None or "the scheduler bfq" in error
        return
    devices = box.read("blkio", file if UNIFIED else f"{file}_device")
    assert f"{major}:{minor} {'6970' if file == 'io.weight' else '700'}" in devices


def test_leaf_weight_is_refused_where_no_scheduler_has_it(box):
    if not UNIFIED and has_file("blkio", "blkio.leaf_weight"):
        pytest.skip("this kernel has CFQ")
    assert "linux.resources.blockIO.leafWeight" in refused(box, {"blockIO": {"leafWeight": 300}})


def test_device_that_does_not_exist(box):
    block = {"throttleReadBpsDevice": [{"major": 4095, "minor": 1, "rate": 1}]}
    stderr = refused(box, {"blockIO": block})
    assert "linux.resources.blockIO.throttleReadBpsDevice[0]" in stderr
    assert "disk" in stderr


CONTROLLERS = {
    "net_cls": ({"network": {"classID": 1048577}}, "linux.resources.network.classID"),
    "net_prio": (
        {"network": {"priorities": [{"name": "lo", "priority": 3}]}},
        "linux.resources.network.priorities",
    ),
    "hugetlb": (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
        "linux.resources.hugepageLimits[0]",
    ),
    "rdma": ({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10}}}, "linux.resources.rdma.mlx5_1"),
}


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_controller_that_is_not_there_is_named_with_the_remedy(box, controller):
    resources, field = CONTROLLERS[controller]
    if UNIFIED:
        if controller in (ROOT / "cgroup.controllers").read_text().split():
            pytest.skip("this host has it")
    elif controller in Path("/proc/self/mountinfo").read_text().partition(" - cgroup ")[2]:
        pytest.skip("mounted here")
    stderr = refused(box, resources)
    assert field in stderr
    if UNIFIED:
        assert "cgroup v2" in stderr or "not available" in stderr
    elif any(line.startswith(controller) for line in Path("/proc/cgroups").read_text().splitlines()):
        assert f"mount -t cgroup -o {controller}" in stderr
    else:
        assert "this kernel is built without it" in stderr


def handed_down():
    """The controllers that a v2 hierarchy beside v1's uses: these cannot be mounted."""
    file = ROOT / "unified/cgroup.subtree_control"
    return file.read_text().split() if file.exists() else []


@only_v1
@pytest.mark.parametrize(
    ("controller", "file", "value"),
    [("net_cls", "net_cls.classid", "1048577"), ("net_prio", "net_prio.ifpriomap", "lo 3"),
     ("hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304")],
)  # fmt: skip
def test_controller_that_is_mounted_where_the_hint_says(box, tmp_path, controller, file, value):
    """In a mount namespace of its own; the hierarchy is gone with that."""
    known = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()]
    if [controller, "0"] not in [row[:2] for row in known] or controller in handed_down():
        pytest.skip("in use, or not in this kernel")
    resources, _ = CONTROLLERS[controller]
    write_config(box.bundle, with_resources(box, resources, "true"))
    place = tmp_path / "hierarchy"
    place.mkdir()
    words = " ".join(f"'{word}'" for word in (*COMMAND, "--root", str(box.root)))
    script = (
        f"mount -t cgroup -o {controller} none {place} && {words} create -b {box.bundle} box </dev/null >/dev/null && "
        f"cat {place}{box.cgroup}/box/{file}; {words} delete -f box; rmdir {place}{box.cgroup}"
    )
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": import_paths()},
    )  # fmt: skip
    assert value in result.stdout, result


@only_v1
def test_unified_is_refused_on_v1(box):
    assert "linux.resources.unified needs cgroup v2" in refused(box, {"unified": {"memory.high": "1"}})


@only_v2
def test_unified(box):
    box.start(config=with_resources(box, {"unified": {"memory.high": "67108864", "cgroup.max.depth": "3"}}))
    assert box.read("", "memory.high") == "67108864"
    assert box.read("", "cgroup.max.depth") == "3"


@only_v2
@pytest.mark.parametrize(
    "resources",
    [{"memory": {"swappiness": 1}}, {"memory": {"kernel": MIB}}, {"memory": {"kernelTCP": MIB}},
     {"memory": {"disableOOMKiller": True}}, {"memory": {"useHierarchy": True}}, {"cpu": {"realtimeRuntime": 1}}, {"cpu": {"realtimePeriod": 1}},
     {"network": {"classID": 1}}, {"blockIO": {"leafWeight": 100}}],
)  # fmt: skip
def test_field_that_v2_does_not_have(box, resources):
    (group, members), *_ = resources.items()
    stderr = refused(box, resources)
    assert f"linux.resources.{group}.{next(iter(members))} does not exist on cgroup v2" in stderr


@only_v2
def test_parent_with_processes_hands_nothing_down(box):
    parent = ROOT / f"{box.cgroup[1:]}-full"
    parent.mkdir()
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        (parent / "cgroup.procs").write_text(str(stranger.pid))
        config = with_resources(box, {"pids": {"limit": 5}}, "true")
        config["linux"]["cgroupsPath"] = f"/{parent.name}/box"
        stderr = box.run(config).stderr
        assert "linux.resources.pids.limit needs the controller pids" in stderr
        assert "has processes itself" in stderr
        assert not (parent / "box").exists()
    finally:
        stranger.kill()
        stranger.wait()
        remove_soon(parent)


@only_v2
def test_threaded_cgroup(box):
    parent = ROOT / f"{box.cgroup[1:]}-threads"
    (parent / "box").mkdir(parents=True)
    try:
        (parent / "box/cgroup.type").write_text("threaded")
        config = with_resources(box, {}, "true")
        config["linux"]["cgroupsPath"] = f"/{parent.name}/box"
        assert "is threaded, and a container needs a domain" in box.run(config).stderr
    finally:
        (parent / "box").rmdir()
        parent.rmdir()


def remove_soon(directory, seconds=5):
    deadline = time.monotonic() + seconds
    while directory.exists():
        try:
            directory.rmdir()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


# linux.cgroupsPath


@pytest.mark.row("S14")
@pytest.mark.parametrize("path", ["/../escape", "a/../../escape", "..", "/"])
def test_path_that_climbs_out_is_refused(box, path):
    config = box.config("true")
    config["linux"]["cgroupsPath"] = path
    result = box.run(config)
    assert result.returncode == 1
    assert "linux.cgroupsPath" in result.stderr


def own_cgroup(pid):
    rows = (line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    return {controllers: path for _, controllers, path in rows}


@pytest.mark.parametrize("path", [None, "barque-test-relative-{pid}/box"])
def test_relative_path_is_below_our_own_cgroup(box, path):
    """On v2 beside it: a cgroup with processes in it cannot limit its children."""
    config = with_resources(box, {"pids": {"limit": 9}}, "sleep", "1000")
    del config["linux"]["cgroupsPath"]
    if path:
        config["linux"]["cgroupsPath"] = path.format(pid=os.getpid())
    pid = box.start(config=config)
    found, own = own_cgroup(pid), own_cgroup(os.getpid())
    key = "" if UNIFIED else "memory"
    tail = config["linux"].get("cgroupsPath", "box")
    above = os.path.dirname(own[key]) if UNIFIED else own[key]
    assert found[key] == f"{above.rstrip('/')}/{tail}"
    box.call("delete", "-f", "box")
    if path:
        for directory in (ROOT, *ROOT.iterdir()):
            for key, place in own.items():
                if UNIFIED or directory.name in key or f"name={directory.name}" == key:
                    above = os.path.dirname(place) if UNIFIED else place
                    remove_soon(Path(f"{directory}{above}/barque-test-relative-{os.getpid()}"))


@pytest.mark.row("S14")
def test_container_in_a_user_namespace_cannot_write_to_the_hosts_cgroups(box, rootfs):
    config = box.config("sh", "-c", "cat /proc/self/cgroup; for f in /sys/fs/cgroup/* /sys/fs/cgroup/*/*; do "
                        "[ -f $f ] && echo 1 >$f && echo WROTE $f; done; mkdir /sys/fs/cgroup/x && echo MADE; "
                        "mount -t cgroup -o memory none /tmp && echo MOUNTED; true")  # fmt: skip
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
    config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
    del config["linux"]["sysctl"]
    result = box.run(config)
    assert result.returncode == 0, result
    for word in ("WROTE", "MADE", "MOUNTED"):
        assert word not in result.stdout


# Delete


def writable(box, *args):
    """A container with its cgroups writable, in a cgroup namespace."""
    config = with_resources(box, {}, *args)
    config["linux"]["namespaces"].append({"type": "cgroup"})
    config["mounts"] = [each for each in config["mounts"] if each["destination"] != "/sys/fs/cgroup"]
    config["mounts"].append(mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev"))
    return config


FREEZER = "/sys/fs/cgroup" if UNIFIED else "/sys/fs/cgroup/freezer"
FREEZE = "echo 1 >cgroup.freeze" if UNIFIED else "echo FROZEN >freezer.state"


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_cgroups_that_the_container_made_go_with_it(box):
    script = f"cd {FREEZER}; mkdir -p a/b/c; (echo 0 >a/b/c/cgroup.procs; exec sleep 1000) & sleep 1000 & exec sleep 1000"
    pid = box.start(config=writable(box, "sh", "-c", script))
    wait_for(
        lambda: (
            box.file("freezer", "a/b/c/cgroup.procs").exists()
            and box.file("freezer", "a/b/c/cgroup.procs").read_text()
        )
    )
    (inner,) = box.file("freezer", "a/b/c/cgroup.procs").read_text().split()
    assert {pid, int(inner)} < set(json.loads(box.call("ps", "-f", "json", "box").stdout))
    assert box.call("delete", "-f", "box").returncode == 0
    assert not box.file("freezer", "").exists()
    wait_for(lambda: not Path(f"/proc/{inner}").exists())


@pytest.mark.parametrize("below", [".", "a"])
def test_container_that_froze_itself_can_be_deleted(box, below):
    script = f"cd {FREEZER}; mkdir -p a; [ {below} = . ] || echo 1 >{below}/cgroup.procs; cd {below}; {FREEZE}; exec sleep 1000"
    box.start(config=writable(box, "sh", "-c", script))
    name = "cgroup.events" if UNIFIED else "freezer.state"
    word = "frozen 1" if UNIFIED else "FROZEN"
    file = box.file("freezer", f"{below}/{name}")
    wait_for(lambda: file.exists() and word in file.read_text())
    assert box.call("kill", "box", "KILL").returncode == 0
    assert box.call("delete", "-f", "box").returncode == 0
    assert not box.file("freezer", "").exists()


def test_cgroups_nested_deeper_than_a_path_can_be(box):
    """A container may make as many as it likes; deleting must neither fail nor recurse."""
    box.start("sleep", "1000")
    current = os.open(box.file("freezer", ""), os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(1200):
        os.mkdir("deeper", dir_fd=current)
        below = os.open("deeper", os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
        os.close(current)
        current = below
    os.close(current)
    assert box.call("ps", "-f", "json", "box").returncode == 0
    result = box.call("delete", "-f", "box")
    assert result.returncode == 0, result.stderr
    assert not box.file("freezer", "").exists()


@only_v2
def test_exec_into_a_container_that_hands_controllers_down(box):
    """As a systemd in a container does: its own cgroup then takes no processes."""
    script = f"cd {FREEZER}; mkdir init; echo 1 >init/cgroup.procs; echo +pids >cgroup.subtree_control; echo ok >/dev/shm/ok; exec sleep 1000"
    config = writable(box, "sh", "-c", script)
    config["linux"]["resources"] = {"pids": {"limit": 50}}
    pid = box.start(config=config)
    wait_for(lambda: Path(f"/proc/{pid}/root/dev/shm/ok").exists())
    result = box.call("exec", "box", "cat", "/proc/self/cgroup")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("/init")


# The part of v2 that needs no controller, where v2 is mounted beside v1


@pytest.fixture
def unified_cgroup():
    top = ROOT if UNIFIED else ROOT / "unified"
    if not (top / "cgroup.procs").exists():
        pytest.skip("cgroup v2 is not mounted")
    directory = top / f"barque-test-v2-{os.getpid()}"
    (directory / "a/b").mkdir(parents=True)
    strangers = [subprocess.Popen(["sleep", "1000"]) for _ in range(3)]
    for place, stranger in zip((directory, directory / "a", directory / "a/b"), strangers, strict=True):
        (place / "cgroup.procs").write_text(str(stranger.pid))
    yield str(directory), strangers
    for stranger in strangers:
        stranger.kill()
        stranger.wait()
    cgroup.remove([str(directory)])


def test_v2_processes_and_freezer(unified_cgroup):
    directory, strangers = unified_cgroup
    assert cgroup.processes(directory) == {each.pid for each in strangers}
    assert not cgroup.is_frozen(directory)
    cgroup.freeze(directory, True)
    assert cgroup.is_frozen(directory)
    # a frozen process that is looked at closely thaws for a moment and freezes again
    assert eventually(lambda: "frozen 1" in Path(f"{directory}/a/b/cgroup.events").read_text())
    cgroup.freeze(directory, False)
    assert "frozen 0" in Path(f"{directory}/a/b/cgroup.events").read_text()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("at_once", [True, False])
def test_v2_kill_and_remove(unified_cgroup, monkeypatch, frozen, at_once):
    """Also as before Linux 5.14, without cgroup.kill."""
    directory, strangers = unified_cgroup
    if not at_once:
        monkeypatch.setattr(cgroup, "kill_unified", lambda _: False)
    if frozen:
        cgroup.freeze(f"{directory}/a", True)
    cgroup.kill_all(directory)
    for each in strangers:
        assert each.wait(timeout=10) == -signal.SIGKILL
    cgroup.remove([directory])
    assert not Path(directory).exists()


# Rows of the engine in which the runtime takes part


@pytest.mark.row("R15")
@pytest.mark.parametrize("verb", [("kill", "--all", "box", "KILL"), ("delete", "-f", "box")])
def test_processes_that_outlive_init_without_a_pid_namespace(box, verb):
    config = with_resources(box, {}, "sh", "-c", "sleep 1000 & sleep 1000 & exec sleep 1000")
    config["linux"]["namespaces"] = [each for each in config["linux"]["namespaces"] if each["type"] != "pid"]
    config["mounts"] = [each for each in config["mounts"] if each["destination"] != "/proc"]
    config["mounts"].append(mount("/proc", "none", "/proc", "rbind", "ro"))
    config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []
    pid = box.start(config=config)
    wait_for(lambda: len(box.pids()) == 3)
    others = box.pids() - {pid}
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: box.state()["status"] == "stopped")
    assert box.pids() == others
    assert box.call(*verb).returncode == 0
    wait_for(lambda: not any(Path(f"/proc/{each}").exists() for each in others))


@pytest.mark.row("R15")
def test_kill_ends_all_processes_without_a_pid_namespace(box):
    config = with_resources(box, {}, "sh", "-c", "sleep 1000 & exec sleep 1000")
    config["linux"]["namespaces"] = [each for each in config["linux"]["namespaces"] if each["type"] != "pid"]
    config["mounts"] = [each for each in config["mounts"] if each["destination"] != "/proc"]
    config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []
    box.start(config=config)
    wait_for(lambda: len(box.pids()) == 2)
    assert box.call("kill", "box", "KILL").returncode == 0
    wait_for(lambda: not box.pids())


@pytest.mark.row("R14")
def test_paused_container_can_be_killed(box):
    pid = box.start("sh", "-c", "sleep 1000 & sleep 1000")
    assert box.call("pause", "box").returncode == 0
    assert box.frozen()
    assert box.state()["status"] == "paused"
    assert "paused" in box.call("exec", "box", "true").stderr
    assert "paused" in box.call("delete", "box").stderr
    assert box.call("kill", "box", "KILL").returncode == 0
    wait_for(lambda: box.state()["status"] == "stopped", 2)
    assert box.call("delete", "box").returncode == 0
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()


@pytest.mark.row("R14")
def test_paused_container_can_be_deleted_by_force(box):
    box.start("sh", "-c", "sleep 1000 & sleep 1000")
    assert box.call("pause", "box").returncode == 0
    assert box.call("delete", "-f", "box").returncode == 0


def test_pause_stops_work_and_resume_lets_it_go_on(box):
    box.start("sh", "-c", "while :; do :; done")
    file = (
        (lambda: int(box.read("", "cpu.stat").split()[1]))
        if UNIFIED
        else (lambda: int(box.read("cpuacct", "cpuacct.usage")))
    )
    assert box.call("pause", "box").returncode == 0
    before = file()
    time.sleep(0.3)
    assert file() == before
    assert box.call("resume", "box").returncode == 0
    wait_for(lambda: file() > before)
    assert box.state()["status"] == "running"
