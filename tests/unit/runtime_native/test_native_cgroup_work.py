"""What is done to cgroups, on directories that look like them; durations and sizes of the commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_runtime_native.cgroup import control as cgroup
from barque_runtime_native.cgroup import stats as cgroup_stats
from barque_runtime_native.cgroup import stats_v2 as cgroup_stats_v2
from barque_runtime_native.cgroup.runtime_stats import block_io, converted
from barque_runtime_native.cgroup.stats import numbers_of
from barque_runtime_native.cgroup.tree import walk
from barque_runtime_native.commands.events import seconds


def test_walk_visits_what_is_below_first(tmp_path):
    for name in ("a/b", "a/c", "d"):
        (tmp_path / name).mkdir(parents=True)
    names = [os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), tmp_path) for fd in walk(str(tmp_path))]
    assert sorted(names) == [".", "a", "a/b", "a/c", "d"]
    assert names[-1] == "."
    assert names.index("a") > max(names.index("a/b"), names.index("a/c"))


def test_walk_leaves_no_descriptor_open(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in walk(str(tmp_path)):
        break
    list(walk(str(tmp_path)))
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_walk_of_nothing(tmp_path):
    assert list(walk(str(tmp_path / "gone"))) == []


def test_walk_does_not_follow_links(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here/link").symlink_to(tmp_path / "elsewhere")
    assert len(list(walk(str(tmp_path / "here")))) == 1


def test_removal_of_a_nest_deeper_than_python_recurses(tmp_path):
    depth = sys.getrecursionlimit() + 200
    current = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=current)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
        os.close(current)
        current = below
    os.close(current)
    cgroup.remove([str(tmp_path / "d")])
    assert list(tmp_path.iterdir()) == []


def test_main_directory_is_the_freezers():
    assert cgroup.main_directory(["/c/cpu/x", "/c/freezer/x"]) == "/c/freezer/x"
    assert cgroup.main_directory(["/c/x"]) == "/c/x"
    assert cgroup.main_directory([]) == ""


def test_nothing_to_enter_without_a_cgroup():
    for unified in (True, False):
        entry = cgroup.CgroupEntry([], unified=unified)
        assert (entry.tasks, entry.born_in) == ([], -1)
        entry.enter()


def test_exec_enters_below_once_the_cgroup_hands_controllers_down(tmp_path):
    own = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip()
    (tmp_path / "cgroup.subtree_control").write_text("\n")
    top = str(tmp_path)
    assert cgroup.exec_directories([top], os.getpid(), unified=True) == [top]
    (tmp_path / "cgroup.subtree_control").write_text("pids\n")
    below = tmp_path / own.strip("/")
    below.mkdir(parents=True, exist_ok=True)
    found = cgroup.exec_directories([top], os.getpid(), unified=True)
    assert [os.path.normpath(each) for each in found] == [str(below)]
    assert cgroup.exec_directories([top], os.getpid(), unified=False) == [top]


def test_frozen_is_told_from_the_files(tmp_path):
    assert not cgroup.is_frozen(str(tmp_path))
    for text, frozen in (("FREEZING\n", True), ("FROZEN\n", True), ("THAWED\n", False)):
        (tmp_path / "freezer.state").write_text(text)
        assert cgroup.is_frozen(str(tmp_path)) is frozen
    (tmp_path / "cgroup.freeze").write_text("1\n")
    assert cgroup.is_frozen(str(tmp_path))


def test_without_a_cgroup_nothing_is_frozen():
    assert not cgroup.is_frozen("")
    with pytest.raises(FailedPrecondition, match="no cgroup that can be frozen"):
        cgroup.freeze("", True)
    assert cgroup.processes("") == set()
    cgroup.kill_all("")


# Statistics

V2_FILES = {
    "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2\n",
    "memory.stat": "anon 7\nfile 5\n",
    "memory.current": "100\n",
    "memory.max": "400\n",
    "memory.swap.max": "max\n",
    "memory.swap.current": "11\n",
    "memory.peak": "150\n",
    "memory.events": "low 0\nmax 6\noom_kill 1\n",
    "pids.current": "3\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n8:16\n",
    "hugetlb.2MB.max": "max\n",
    "hugetlb.2MB.rsvd.max": "max\n",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.events": "max 9\n",
}


@pytest.fixture
def v2(tmp_path):
    for name, text in V2_FILES.items():
        (tmp_path / name).write_text(text)
    return {**cgroup_stats_v2.measure(str(tmp_path)), "intel_rdt": {}}


def test_shape_of_v2(v2):
    assert v2["cpu"]["usage"] == {"total": 30000, "kernel": 10000, "user": 20000}
    assert v2["cpu"]["throttling"] == {"periods": 4, "throttledPeriods": 3, "throttledTime": 2000}
    assert v2["memory"]["usage"] == {"limit": 400, "usage": 100, "max": 150, "failcnt": 6}
    assert v2["memory"]["swap"] == {"limit": 2**64 - 1, "usage": 111, "failcnt": 0}
    assert v2["memory"]["cache"] == 5
    assert v2["pids"] == {"current": 3}
    assert v2["blkio"]["ioServicedRecursive"] == [
        {"major": 8, "op": "Read", "value": 3},
        {"major": 8, "op": "Write", "value": 4},
    ]
    assert v2["hugetlb"] == {"2MB": {"usage": 2097152, "failcnt": 9}}


def test_contract_of_v2(v2):
    found = converted(v2)
    assert (found.cpu_total, found.cpu_per_cpu, found.cpu_throttled_time) == (30000, (), 2000)
    assert (found.memory_limit, found.memory_usage, found.memory_failures) == (400, 100, 6)
    assert found.pids_limit == 0
    (disk,) = found.block_io
    assert (disk.major, disk.minor, disk.read_bytes, disk.written_bytes, disk.reads, disk.writes) == (
        8,
        0,
        1,
        2,
        3,
        4,
    )
    assert found.hugepages["2MB"].usage == 2097152


def test_nothing_where_there_is_no_controller(tmp_path):
    found = converted({**cgroup_stats_v2.measure(str(tmp_path)), "intel_rdt": {}})
    assert (found.cpu_total, found.memory_usage, found.pids_current, found.block_io) == (0, 0, 0, ())


def test_operations_of_v1():
    lines = "8:0 Read 4096\n8:0 Write 0\n8:0 Total 4096\nTotal 4096\n"
    found = cgroup_stats._operations(lines)
    assert found[0] == {"major": 8, "op": "Read", "value": 4096}
    assert len(found) == 3
    (disk,) = block_io({"ioServiceBytesRecursive": found})
    assert (disk.read_bytes, disk.written_bytes) == (4096, 0)


@pytest.mark.parametrize(("text", "expected"), [("", []), ("0-2,5\n", [0, 1, 2, 5]), ("7", [7])])
def test_lists_of_processors(text, expected):
    assert numbers_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("5s", 5), ("100ms", 0.1), ("1m30s", 90), ("1.5h", 5400), ("2us", 2e-6)]
)
def test_durations(text, expected):
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["5", "s", "1..5s", "-1s", "1d", "1s2", "."])
def test_wrong_durations(text):
    with pytest.raises(InvalidArgument, match="interval"):
        seconds(text)
