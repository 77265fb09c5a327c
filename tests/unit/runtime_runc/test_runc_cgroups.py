"""Statistics, limits and the freezer, from cgroup files of v1 and v2 as the kernel writes them, in directories of the test."""

from __future__ import annotations

import os

import pytest

from barque.spi import errors
from barque.spi.runtime import BlockIo
from barque_runtime_runc import cgroups, freezer, limits, stats
from barque_runtime_runc.cgroups import ContainerCgroups, find_cgroups
from barque_runtime_runc.mountinfo import CgroupMount

V1 = {
    "cpuacct.usage": "5000000\n",
    "cpuacct.stat": "user 3\nsystem 2\n",
    "cpuacct.usage_percpu": "2000000 3000000 \n",
    "cpu.stat": "nr_periods 9\nnr_throttled 4\nthrottled_time 777\n",
    "cpu.shares": "1024\n",
    "memory.usage_in_bytes": "4096\n",
    "memory.max_usage_in_bytes": "8192\n",
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.failcnt": "3\n",
    "memory.stat": "cache 1\nrss 2\n",
    "pids.current": "2\n",
    "pids.max": "max\n",
    "blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n",
    "blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
}
V2 = {
    "cgroup.controllers": "cpu memory pids io\n",
    "cpu.stat": "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnr_periods 9\nnr_throttled 4\nthrottled_usec 7\n",
    "memory.current": "4096\n",
    "memory.peak": "8192\n",
    "memory.max": "67108864\n",
    "memory.events": "low 0\nhigh 0\nmax 3\noom 0\n",
    "memory.stat": "anon 1\nfile 2\n",
    "pids.current": "2\n",
    "pids.max": "64\n",
    "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
    "cgroup.procs": "9\n7\n",
}
CONTROLLERS = ("cpu", "cpuacct", "memory", "pids", "blkio")


def write(directory, files):
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)


@pytest.fixture
def v1(tmp_path):
    write(tmp_path / "v1", V1)
    return ContainerCgroups(dict.fromkeys(CONTROLLERS, str(tmp_path / "v1")), "")


@pytest.fixture
def v2(tmp_path):
    write(tmp_path / "v2", V2)
    return ContainerCgroups({}, str(tmp_path / "v2"))


def test_stats_of_v1(v1):
    found = stats.read_stats(v1)
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert (found.cpu_total, found.cpu_user, found.cpu_system) == (5_000_000, 3 * tick, 2 * tick)
    assert found.cpu_per_cpu == (2_000_000, 3_000_000)
    assert (found.cpu_periods, found.cpu_throttled_periods, found.cpu_throttled_time) == (9, 4, 777)
    assert (found.memory_usage, found.memory_max_usage, found.memory_limit, found.memory_failures) == (
        4096,
        8192,
        0,
        3,
    )
    assert found.memory_detail == {"cache": 1, "rss": 2}
    assert (found.pids_current, found.pids_limit) == (2, 0)
    assert found.block_io == (BlockIo(8, 0, 10, 20, 1, 2),)
    assert found.hugepages == {}


def test_stats_of_v2(v2):
    found = stats.read_stats(v2)
    assert (found.cpu_total, found.cpu_user, found.cpu_system) == (5_000_000, 3_000_000, 2_000_000)
    assert found.cpu_per_cpu == ()
    assert (found.cpu_periods, found.cpu_throttled_periods, found.cpu_throttled_time) == (9, 4, 7000)
    assert found.memory_limit == 64 << 20
    assert (found.memory_usage, found.memory_max_usage, found.memory_failures) == (4096, 8192, 3)
    assert (found.pids_current, found.pids_limit) == (2, 64)
    assert found.block_io == (BlockIo(8, 0, 10, 20, 1, 2),)


def test_stats_of_a_kernel_that_tells_nothing(tmp_path):
    found = stats.read_stats(ContainerCgroups({}, str(tmp_path)))
    assert (found.cpu_total, found.memory_usage, found.pids_current, found.block_io) == (0, 0, 0, ())


def test_processes_are_those_below_too(v2, tmp_path):
    write(tmp_path / "v2/below", {"cgroup.procs": "8\n0\n"})
    assert v2.processes() == (7, 8, 9)


MOUNTS = [
    CgroupMount("/c/memory", False, False, frozenset({"rw", "memory"})),
    CgroupMount("/c/cpu", False, False, frozenset({"rw", "cpu", "cpuacct"})),
    CgroupMount("/c/unified", True, False),
    CgroupMount("/c/partial", False, False, frozenset({"pids"}), "/docker/x"),
]


@pytest.fixture
def existing(monkeypatch):
    monkeypatch.setattr(cgroups, "cgroup_mounts", lambda: MOUNTS)
    monkeypatch.setattr(os.path, "isdir", lambda path: True)


@pytest.mark.usefixtures("existing")
def test_cgroups_by_the_path_of_the_config():
    found = find_cgroups("/barque/c1", 0)
    assert (found.v1["memory"], found.v1["cpuacct"], found.v2) == (
        "/c/memory/barque/c1", "/c/cpu/barque/c1", "/c/unified/barque/c1",
    )  # fmt: skip
    assert "pids" not in found.v1
    assert find_cgroups("/docker/x/c1", 0).v1["pids"] == "/c/partial/c1"
    assert find_cgroups("/docker/x", 0).v1.get("pids") is None


@pytest.mark.usefixtures("existing")
@pytest.mark.parametrize("path", ["/", "/../x", "/a/../../b", "relative"])
def test_cgroups_that_are_nobodys(path):
    assert find_cgroups(path, 0).directories() == ()


@pytest.mark.usefixtures("existing")
def test_cgroups_by_membership(monkeypatch):
    monkeypatch.setattr(
        cgroups, "read_file", lambda path: "9:memory:/m\n5:cpu,cpuacct:/c\n1:name=systemd:/s\n0::/u\n"
    )
    found = find_cgroups("", 42)
    assert (found.v1["memory"], found.v1["cpu"], found.v2) == ("/c/memory/m", "/c/cpu/c", "/c/unified/u")


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"memory": {"limit": "1"}}, r"linux\.resources\.memory\.limit: must be of type int"),
        ({"memory": {"limit": True}}, r"linux\.resources\.memory\.limit"),
        ({"memory": {"nothing": 1}}, r"linux\.resources\.memory\.nothing"),
        ({"memory": [1]}, r"linux\.resources\.memory: must be an object"),
        ({"network": {"classID": 1}}, r"linux\.resources\.network"),
        ({"blockIO": {"throttleReadBpsDevice": []}}, r"linux\.resources\.blockIO\.throttleReadBpsDevice"),
    ],
)
def test_documents_that_cannot_be_applied(v1, resources, message):
    with pytest.raises(errors.InvalidArgument, match=message):
        limits.checked(resources, v1)


def test_controllers_that_are_not_there(v1, v2):
    with pytest.raises(errors.FailedPrecondition, match="cpuset"):
        limits.checked({"cpu": {"cpus": "0"}}, v1)
    with pytest.raises(errors.FailedPrecondition, match="v2"):
        limits.checked({"unified": {"memory.high": "1"}}, v1)
    with pytest.raises(errors.FailedPrecondition, match=r"unified\.memory\.none"):
        limits.checked({"unified": {"memory.none": "1"}}, v2)
    with pytest.raises(errors.InvalidArgument, match="unified"):
        limits.checked({"unified": {"../x": "1"}}, v2)


def test_what_may_be_applied(v1, v2):
    wanted = {"memory": {"limit": 1 << 20}, "cpu": {"shares": 2}, "pids": {"limit": 3}}
    assert limits.checked({**wanted, "devices": [{"allow": True}], "blockIO": {}}, v1) == wanted
    assert limits.checked({"unified": {"memory.max": "1"}}, v2) == {"unified": {"memory.max": "1"}}


def test_old_limits_come_back(v2, tmp_path):
    (tmp_path / "v2/memory.odd").write_text("7\n")

    def change_and_fail():
        with limits.old_ones_back_on_error(v2, {"memory.odd": "8"}):
            for name in ("memory.max", "pids.max", "memory.odd"):
                (tmp_path / "v2" / name).write_text("1\n")
            raise errors.InvalidArgument("writing file `pids.max`: Invalid argument")

    with pytest.raises(errors.InvalidArgument, match=r"^linux\.resources\.pids\.limit: writing"):
        change_and_fail()
    for name, text in (("memory.max", "67108864"), ("pids.max", "64"), ("memory.odd", "7")):
        assert (tmp_path / "v2" / name).read_text().startswith(text)


def test_new_limits_stay(v2, tmp_path):
    with limits.old_ones_back_on_error(v2, {}):
        (tmp_path / "v2/pids.max").write_text("1\n")
    assert (tmp_path / "v2/pids.max").read_text() == "1\n"


def test_freezer_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(freezer, "_SECONDS", 0.05)
    write(tmp_path / "f", {"freezer.state": "FREEZING\n", "cgroup.events": "populated 1\nfrozen 0\n"})
    v1, v2 = ContainerCgroups({"freezer": str(tmp_path / "f")}, ""), ContainerCgroups({}, str(tmp_path / "f"))
    for found in (v1, v2):
        with pytest.raises(errors.Unavailable):
            freezer.wait_until_frozen(found, "c1")
    write(tmp_path / "f", {"freezer.state": "FROZEN\n", "cgroup.events": "populated 1\nfrozen 1\n"})
    for found in (v1, v2):
        freezer.wait_until_frozen(found, "c1")


def test_thaw_writes_what_there_is(tmp_path):
    write(tmp_path / "f", {"freezer.state": "FROZEN\n"})
    freezer.thaw(str(tmp_path / "f"))
    assert (tmp_path / "f/freezer.state").read_text().startswith("THAWED")
    freezer.thaw(str(tmp_path / "nothing"))
    assert os.listdir(tmp_path / "f") == ["freezer.state"]
