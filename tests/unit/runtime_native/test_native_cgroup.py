"""Cgroup layouts, settings and device rules, from texts alone."""

from __future__ import annotations

import struct

import pytest

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_runtime_native.cgroup.device_program import compile_program
from barque_runtime_native.cgroup.devices import ALWAYS, ANY, DeviceRule, plan_device_rules
from barque_runtime_native.cgroup.layout import read_layout, unescape
from barque_runtime_native.cgroup.plan import CgroupPlan, check_path
from barque_runtime_native.cgroup.settings import plan_settings
from barque_runtime_native.spec import Section

V2 = ("30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", "0::/user.slice\n")
V1 = (
    "31 20 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 20 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 20 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    "34 20 0:30 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
    "35 20 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "36 20 0:32 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n"
    "37 20 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    "38 20 0:34 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
    "9:name=systemd:/s\n8:pids:/\n7:blkio:/\n5:devices:/\n4:memory:/mine/deep\n3:cpuset:/\n1:cpu,cpuacct:/\n0::/\n",
)


def values(resources, texts):
    return {
        setting.file: setting.value
        for setting in plan_settings(Section(resources, "linux.resources"), read_layout(*texts))
    }


def test_pure_v2():
    layout = read_layout(*V2)
    assert layout.unified
    assert layout.hierarchies[0].directory("/box/1") == "/sys/fs/cgroup/box/1"
    assert layout.hierarchies[0].directory("1") == "/sys/fs/cgroup/user.slice/1"


def test_hybrid_uses_the_v1_hierarchies_only():
    layout = read_layout(*V1)
    assert not layout.unified
    assert [each.name for each in layout.hierarchies] == [
        "cpu,cpuacct", "memory", "pids", "blkio", "cpuset", "devices", "systemd",
    ]  # fmt: skip
    assert layout.of("cpuacct") is layout.of("cpu")
    assert layout.of("hugetlb") is None
    assert layout.of("memory").directory("x") == "/sys/fs/cgroup/memory/mine/deep/x"
    assert layout.hierarchies[-1].label == "systemd"


def test_inside_a_container_without_cgroup_namespace():
    mountinfo = "32 20 0:28 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    layout = read_layout(mountinfo, "4:memory:/docker/abc/inner\n")
    assert layout.of("memory").directory("x") == "/sys/fs/cgroup/memory/inner/x"


def test_no_hierarchy_is_an_error_with_a_remedy():
    with pytest.raises(FailedPrecondition, match="mount cgroup2"):
        read_layout("", "")


def test_octal_escapes():
    assert unescape(r"/a\040b\134c") == "/a b\\c"


def test_v1_settings():
    resources = {
        "memory": {
            "limit": 1 << 20,
            "swap": 2 << 20,
            "reservation": 1 << 19,
            "swappiness": 0,
            "disableOOMKiller": True,
        },
        "cpu": {"shares": 512, "quota": -1, "period": 100000, "cpus": "0-1", "mems": "0"},
        "pids": {"limit": 7},
        "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}]},
    }
    assert values(resources, V1) == {
        "memory.limit_in_bytes": "1048576",
        "memory.memsw.limit_in_bytes": "2097152",
        "memory.soft_limit_in_bytes": "524288",
        "memory.swappiness": "0",
        "memory.oom_control": "1",
        "cpu.shares": "512",
        "cpu.cfs_quota_us": "-1",
        "cpu.cfs_period_us": "100000",
        "cpuset.cpus": "0-1",
        "cpuset.mems": "0",
        "pids.max": "7",
        "blkio.weight": "500",
        "blkio.throttle.read_bps_device": "8:0 1024",
    }


def test_v1_memory_limit_is_written_before_memory_and_swap():
    settings = plan_settings(Section({"memory": {"swap": 2, "limit": 1}}, "r"), read_layout(*V1))
    assert [setting.file for setting in settings] == ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]


def test_v2_settings():
    resources = {
        "memory": {"limit": 1 << 20, "swap": 3 << 20, "reservation": 1 << 19},
        "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0"},
        "pids": {"limit": -1},
        "blockIO": {"weight": 10, "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 5}]},
        "unified": {"memory.high": "12345"},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
    }
    assert values(resources, V2) == {
        "memory.max": "1048576",
        "memory.swap.max": "2097152",
        "memory.low": "524288",
        "memory.high": "12345",
        "cpu.weight": "39",
        "cpu.max": "50000 100000",
        "cpuset.cpus": "0",
        "pids.max": "max",
        "io.bfq.weight": "10",
        "io.max": "8:16 wiops=5",
        "hugetlb.2MB.max": "4096",
        "hugetlb.2MB.rsvd.max": "4096",
    }


@pytest.mark.parametrize(
    ("resources", "texts", "field"),
    [
        ({"unified": {"memory.high": "1"}}, V1, "linux.resources.unified"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, V1, "linux.resources.hugepageLimits"),
        ({"network": {"classID": 1}}, V1, "linux.resources.network.classID"),
        ({"memory": {"swappiness": 10}}, V2, "linux.resources.memory.swappiness"),
        ({"memory": {"kernel": 10}}, V2, "linux.resources.memory.kernel"),
        ({"memory": {"disableOOMKiller": True}}, V2, "linux.resources.memory.disableOOMKiller"),
        ({"cpu": {"realtimeRuntime": 10}}, V2, "linux.resources.cpu.realtimeRuntime"),
        ({"blockIO": {"leafWeight": 10}}, V2, "linux.resources.blockIO.leafWeight"),
    ],
)
def test_limit_that_cannot_be_set_here_is_refused_by_name(resources, texts, field):
    with pytest.raises(FailedPrecondition) as raised:
        values(resources, texts)
    assert raised.value.message.startswith(field)


def test_v2_swap_below_memory_is_refused():
    with pytest.raises(InvalidArgument, match=r"memory\.swap"):
        values({"memory": {"limit": 2, "swap": 1}}, V2)


@pytest.mark.parametrize("name", ["../memory.max", ""])
def test_unified_key_that_is_no_file_name_is_refused(name):
    with pytest.raises(InvalidArgument, match="unified"):
        values({"unified": {name: "1"}}, V2)


@pytest.mark.row("S14")
@pytest.mark.parametrize("path", ["/../etc", "a/../../b", "/", ".."])
def test_cgroup_path_that_climbs_out_is_refused(path):
    with pytest.raises(InvalidArgument, match="cgroupsPath"):
        check_path(path, "linux.cgroupsPath")


def test_path_of_systemd_is_refused():
    with pytest.raises(InvalidArgument, match="systemd"):
        check_path("system.slice:docker:abc", "linux.cgroupsPath")


def test_plan_names_every_directory():
    plan = CgroupPlan(Section({"cgroupsPath": "/box"}, "linux"), read_layout(*V1), "id")
    assert plan.directories["memory"] == "/sys/fs/cgroup/memory/box"
    assert len(plan.directories) == 7


# Device rules


def test_default_devices_follow_the_configuration():
    rules = plan_device_rules(Section({"devices": [{"allow": False, "access": "rwm"}]}, "r"))
    assert rules[0].text() == "a"
    assert not rules[0].allow
    assert "c 1:3 rwm" in [rule.text() for rule in rules[1:]]
    assert "c 10:229 rwm" not in [rule.text() for rule in rules]


def test_without_rules_nothing_is_changed():
    assert plan_device_rules(Section({}, "r")) == []


@pytest.mark.parametrize("rule", [{"type": "x"}, {"type": "c", "access": "rx"}, {"type": "a", "major": 1}])
def test_wrong_rule_is_refused(rule):
    with pytest.raises(InvalidArgument, match=r"devices\[0\]"):
        plan_device_rules(Section({"devices": [{"allow": True, **rule}]}, "r"))


def decide(program, kind, access, major, minor):
    """An interpreter for the eBPF the compiler may emit; anything else is an error."""
    context = struct.pack("=III", access << 16 | kind, major, minor)
    registers = [0] * 11
    position = 0
    for _ in range(len(program)):
        code, both, offset, value = struct.unpack_from("=BBhI", program, position * 8)
        destination, source = both & 15, both >> 4
        position += 1
        if code == 0x61:
            registers[destination] = struct.unpack_from("=I", context, offset)[0]
        elif code == 0xB7:
            registers[destination] = value
        elif code == 0xBF:
            registers[destination] = registers[source]
        elif code == 0x57:
            registers[destination] &= value
        elif code == 0x77:
            registers[destination] >>= value
        elif code == 0x55:
            position += offset if registers[destination] != value else 0
        elif code == 0x15:
            position += offset if registers[destination] == value else 0
        elif code == 0x5D:
            position += offset if registers[destination] != registers[source] else 0
        elif code == 0x95:
            return registers[0]
        else:
            raise AssertionError(f"instruction {code:#x}")
    raise AssertionError("the program does not end")


BLOCK, CHARACTER = 1, 2
MKNOD, READ, WRITE = 1, 2, 4


@pytest.mark.parametrize(
    ("kind", "access", "major", "minor", "allowed"),
    [
        (CHARACTER, READ | WRITE, 1, 3, 1),
        (CHARACTER, READ | WRITE, 136, 77, 1),
        (CHARACTER, READ, 10, 229, 0),
        (CHARACTER, MKNOD, 10, 229, 1),
        (BLOCK, MKNOD, 8, 0, 1),
        (BLOCK, READ, 8, 0, 0),
        (BLOCK, READ | MKNOD, 8, 0, 0),
    ],
)
def test_program_of_the_default_rules(kind, access, major, minor, allowed):
    program = compile_program([DeviceRule(False, "a", ANY, ANY, "rwm"), *ALWAYS])
    assert decide(program, kind, access, major, minor) == allowed


def test_program_has_no_instruction_that_cannot_be_reached():
    """The kernel's verifier refuses such a program."""
    everything = DeviceRule(True, "a", ANY, ANY, "rwm")
    program = compile_program([DeviceRule(False, "c", 1, 3, "rwm"), everything])
    assert program == compile_program([everything])
    assert struct.unpack_from("=B", program, len(program) - 8)[0] == 0x95
    assert len(program) // 8 == 8


def test_last_matching_rule_decides():
    rules = [
        DeviceRule(True, "a", ANY, ANY, "rwm"),
        DeviceRule(False, "b", 8, ANY, "w"),
        DeviceRule(True, "b", 8, 1, "rwm"),
    ]
    program = compile_program(rules)
    assert decide(program, BLOCK, WRITE, 8, 0) == 0
    assert decide(program, BLOCK, READ, 8, 0) == 1
    assert decide(program, BLOCK, READ | WRITE, 8, 0) == 0
    assert decide(program, BLOCK, WRITE, 8, 1) == 1
    assert decide(program, CHARACTER, WRITE, 8, 0) == 1
