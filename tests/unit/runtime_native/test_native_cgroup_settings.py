"""Settings in detail: conversions, what is refused, the order of writes and the way back."""

from __future__ import annotations

import pytest

from barque.spi.errors import BarqueError, FailedPrecondition, InvalidArgument
from barque_runtime_native.cgroup import missing as cgroup_missing
from barque_runtime_native.cgroup import plan as cgroup_plan
from barque_runtime_native.cgroup.layout import read_layout
from barque_runtime_native.cgroup.plan import CgroupPlan
from barque_runtime_native.cgroup.setting import Setting, apply
from barque_runtime_native.cgroup.settings import plan_settings
from barque_runtime_native.cgroup.settings_v2 import weight_of
from barque_runtime_native.cgroup.update import size
from barque_runtime_native.spec import Section

V2 = read_layout("30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/user.slice\n")
NAMES = ("cpu", "memory", "pids", "blkio", "cpuset", "devices", "hugetlb", "rdma", "net_cls", "net_prio")
V1 = read_layout(
    "".join(f"3{i} 2 0:{i} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n" for i, name in enumerate(NAMES)),
    "".join(f"{i}:{name}:/mine\n" for i, name in enumerate(NAMES)),
)  # fmt: skip


def plan(resources, layout):
    return [(each.file, each.value) for each in plan_settings(Section(resources, "linux.resources"), layout)]


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000), (1, 1), (10**9, 10000)])
def test_shares_as_weight(shares, weight):
    assert weight_of(shares) == weight


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({"limit": 100, "swap": 100}, [("memory.max", "100"), ("memory.swap.max", "0")]),
        ({"limit": 100, "swap": -1}, [("memory.max", "100"), ("memory.swap.max", "max")]),
        ({"limit": -1}, [("memory.max", "max"), ("memory.swap.max", "max")]),
        ({"limit": 0, "swap": 0}, []),
        ({"reservation": -1}, [("memory.low", "max")]),
    ],
)
def test_memory_on_v2(memory, expected):
    assert plan({"memory": memory}, V2) == expected


@pytest.mark.parametrize(
    ("memory", "words"), [({"swap": 5}, "without memory limit"), ({"limit": 9, "swap": 5}, ">= memory limit")]
)
def test_swap_that_v2_cannot_tell_from_memory(memory, words):
    with pytest.raises(InvalidArgument, match=words) as raised:
        plan({"memory": memory}, V2)
    assert raised.value.message.startswith("linux.resources.memory.swap")


@pytest.mark.parametrize(
    ("cpu", "text"),
    [
        ({"quota": 5}, "5"),
        ({"quota": -1}, "max"),
        ({"period": 7}, "max 7"),
        ({"quota": 5, "period": 7}, "5 7"),
    ],
)
def test_quota_on_v2(cpu, text):
    assert plan({"cpu": cpu}, V2) == [("cpu.max", text)]


def test_network_and_devices_of_v1():
    resources = {
        "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]},
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 9}],
    }
    assert sorted(plan(resources, V1)) == [
        ("hugetlb.2MB.limit_in_bytes", "9"),
        ("hugetlb.2MB.rsvd.limit_in_bytes", "9"),
        ("net_cls.classid", "1048577"),
        ("net_prio.ifpriomap", "eth0 5"),
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"),
    ]


def test_rdma_is_the_same_on_v2():
    assert plan({"rdma": {"mlx5_1": {"hcaObjects": 7}}}, V2) == [("rdma.max", "mlx5_1 hca_object=7")]


def test_largest_hugepage_limit_is_what_the_kernel_can_read():
    found = plan({"hugepageLimits": [{"pageSize": "1GB", "limit": 2**64 - 1}]}, V2)
    assert found[0] == ("hugetlb.1GB.max", str(2**63 - 1))


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}, "hugepageLimits[0].pageSize"),
        ({"hugepageLimits": [{"pageSize": "0MB", "limit": 1}]}, "hugepageLimits[0].pageSize"),
        ({"hugepageLimits": [{"pageSize": "2MB"}]}, "hugepageLimits[0].limit"),
        ({"rdma": {"mlx5_1": {}}}, "rdma.mlx5_1"),
        ({"rdma": {"a b": {"hcaHandles": 1}}}, "rdma.a b"),
        ({"blockIO": {"weight": 9}}, "blockIO.weight"),
        ({"blockIO": {"weight": 1001}}, "blockIO.weight"),
        ({"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}, "blockIO.weightDevice[0]"),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "rate": 1}]}},
            "blockIO.throttleReadBpsDevice[0]",
        ),
        ({"cpu": {"shares": -2}}, "cpu.shares"),
        ({"cpu": {"shares": True}}, "cpu.shares"),
        ({"memory": {"limit": "1g"}}, "memory.limit"),
        ({"network": {"classID": 1.5}}, "network.classID"),
    ],
)
@pytest.mark.parametrize("layout", [V1, V2])
def test_wrong_value_is_refused_by_name(resources, field, layout):
    with pytest.raises(BarqueError) as raised:
        plan(resources, layout)
    assert raised.value.message.startswith(f"linux.resources.{field}")


def test_weights_of_disks_on_v2_are_scaled_for_iocost():
    block = {"weight": 1000, "weightDevice": [{"major": 8, "minor": 0, "weight": 505}]}
    found = plan_settings(Section({"blockIO": block}, "r"), V2)
    assert [(each.file, each.value, each.other) for each in found] == [
        ("io.bfq.weight", "1000", ("io.weight", "10000")),
        ("io.bfq.weight", "8:0 505", ("io.weight", "8:0 5000")),
    ]


def test_no_limit_needs_no_controller():
    layout = read_layout("31 2 0:1 / /c/cpu rw - cgroup cgroup rw,cpu\n", "1:cpu:/\n")
    assert plan({"pids": {"limit": -1}, "memory": {"limit": -1}}, layout) == []
    with pytest.raises(FailedPrecondition, match=r"linux\.resources\.pids\.limit"):
        plan({"pids": {"limit": 1}}, layout)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("rdma\t0\t1\t1\n", "mount -t cgroup -o rdma"),
        ("rdma\t0\t1\t0\n", "cgroup_disable=rdma"),
        ("", "built without"),
    ],
)
def test_remedy_for_a_missing_controller(monkeypatch, line, remedy):
    monkeypatch.setattr(cgroup_missing, "read_text", lambda _: "#subsys_name\thierarchy\n" + line)
    assert remedy in cgroup_missing.mount_hint("rdma")


# Without power over cgroups


def rootless(monkeypatch, layout, allowed, **linux):
    monkeypatch.setattr(cgroup_plan, "can_be_made", lambda directory: directory.split("/")[4] in allowed)
    monkeypatch.setattr(cgroup_plan, "can_be_entered", lambda *_: True)
    return CgroupPlan(Section(linux, "linux"), layout, "box", rootless=True)


def test_hierarchy_where_nothing_can_be_made_is_left_out(monkeypatch):
    plan_ = rootless(monkeypatch, V1, ("memory",), cgroupsPath="/box", resources={"memory": {"limit": 5}})
    assert plan_.directories == {"memory": "/sys/fs/cgroup/memory/box"}
    with pytest.raises(FailedPrecondition, match=r"linux\.resources\.pids\.limit") as raised:
        rootless(monkeypatch, V1, ("memory",), cgroupsPath="/box", resources={"pids": {"limit": 5}})
    assert "delegate" in raised.value.hint


@pytest.mark.parametrize("layout", [V1, V2])
def test_no_cgroup_at_all(monkeypatch, layout):
    devices = {"devices": [{"allow": False, "access": "rwm"}]}
    plan_ = rootless(monkeypatch, layout, (), cgroupsPath="/box", resources=devices)
    assert (plan_.directories, plan_.rules, plan_.create()) == ({}, [], [])
    with pytest.raises(FailedPrecondition, match=r"linux\.resources\.pids\.limit"):
        rootless(monkeypatch, layout, (), cgroupsPath="/box", resources={"pids": {"limit": 5}})
    unlimited = {"pids": {"limit": -1}}
    assert rootless(monkeypatch, layout, (), cgroupsPath="/box", resources=unlimited).directories == {}


def test_relative_path_outside_of_the_cgroup_namespace():
    layout = read_layout("30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/../other\n")
    with pytest.raises(FailedPrecondition, match="outside of its cgroup namespace"):
        CgroupPlan(Section({"cgroupsPath": "box"}, "linux"), layout, "box")


# Writing


class Picky(Setting):
    """Refused until another one is written."""

    def __init__(self, name, needs, log):
        super().__init__("cpu", name, 1, name)
        self.needs, self.log = needs, log

    def execute(self, directory):
        if self.needs and self.needs not in self.log:
            raise InvalidArgument(self.file)
        self.log.append(self.file)


def test_order_is_found():
    log = []
    apply([Picky("a", "b", log), Picky("b", "c", log), Picky("c", "", log)], str)
    assert log == ["c", "b", "a"]


def test_circle_ends_with_the_first_error():
    log = []
    with pytest.raises(InvalidArgument, match="a"):
        apply([Picky("a", "b", log), Picky("b", "a", log), Picky("c", "", log)], str)
    assert log == ["c"]


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        (Setting("pids", "f", 5, ""), "max\n", "max"),
        (Setting("cpuset", "f", "0", ""), "\n", ""),
        (Setting("blkio", "f", 5, ""), "default 100\n8:0 200\n", "100"),
        (Setting("blkio", "f", "8:0 9", "", reset="8:0 0"), "8:1 3\n8:0 7\n", "8:0 7"),
        (Setting("blkio", "f", "8:0 9", "", reset="8:0 0"), "8:01 3\n", "8:0 0"),
        (Setting("memory", "memory.oom_control", 1, ""), "oom_kill_disable 0\nunder_oom 0\n", "0"),
    ],
)
def test_inverse(tmp_path, setting, text, value):
    (tmp_path / setting.file).write_text(text)
    assert setting.inverse(str(tmp_path)).value == value


def test_empty_value_is_written_as_a_line(tmp_path):
    """A write of nothing would not reach the kernel."""
    (tmp_path / "f").write_text("x")
    Setting("cpuset", "f", "", "").execute(str(tmp_path))
    assert (tmp_path / "f").read_text() == "\n"


def test_other_file(tmp_path):
    (tmp_path / "there").write_text("")
    setting = Setting("io", "absent", 5, "field", ("there", 50))
    setting.execute(str(tmp_path))
    assert (tmp_path / "there").read_text() == "50"
    assert setting.inverse(str(tmp_path)).file == "there"
    with pytest.raises(FailedPrecondition, match="field is set but this kernel has no gone"):
        Setting("io", "absent", 5, "field", ("gone", 50)).execute(str(tmp_path))
    Setting("io", "absent", 5, "field", optional=True).execute(str(tmp_path))
    Setting("io", "absent", "max", "field").execute(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("-1", -1), ("64m", 64 << 20), ("64MB", 64 << 20), ("1KiB", 1024), ("1.5g", 3 << 29), ("2 t", 2 << 40), ("10b", 10)],
)  # fmt: skip
def test_sizes(text, expected):
    assert size(text, "--memory") == expected


@pytest.mark.parametrize(
    "text", ["", "m", "-2", "1..5m", "1,5g", "1e3", "0x10", "٣", "1.g.", "9" * 40, "nan"]
)
def test_wrong_sizes(text):
    with pytest.raises(InvalidArgument, match="--memory"):
        size(text, "--memory")
