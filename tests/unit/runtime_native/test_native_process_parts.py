"""What few processes have: CPUs, memory policy, scheduler, personality, labels; and what only warns."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_runtime_native import notices
from barque_runtime_native.process import number_list, security_label
from barque_runtime_native.process.capabilities import ALL, NUMBERS, CapabilitySets
from barque_runtime_native.process.cpu_affinity import CpuAffinity
from barque_runtime_native.process.memory_policy import FLAGS, MODES, MemoryPolicy
from barque_runtime_native.process.process import Process, read_personality
from barque_runtime_native.process.scheduling import Scheduling
from barque_runtime_native.spec import Section


@pytest.fixture
def warnings():
    said = []
    notices.send_to(said.append)
    yield said
    notices.send_to(notices.to_stderr)


# Lists of numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", []),
        ("0", [0]),
        ("0-3,7", [0, 1, 2, 3, 7]),
        (" 1 , 0 ", [0, 1]),
        ("2 - 3,2", [2, 3]),
        ("8191", [8191]),
    ],
)
def test_list_of_numbers(text, numbers):
    assert number_list.parse(text, "f") == numbers


@pytest.mark.parametrize("text", ["x", "-1", "1-", "3-1", "8192", "0-99999999", "1--2", "0x1", "²", "1;2"])
def test_what_is_no_list_is_refused_by_name(text):
    with pytest.raises(InvalidArgument, match=r"^process\.execCPUAffinity\.final"):
        CpuAffinity(Section({"final": text}, "process.execCPUAffinity"))


@given(st.sets(st.integers(0, 200)))
def test_mask_of_a_list(numbers):
    data = number_list.mask(sorted(numbers))
    assert len(data) % 8 == 0
    assert int.from_bytes(data, "little") == sum(1 << number for number in numbers)


# Memory policy


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"nodes": "0"}, "mode"),
        ({"mode": "MPOL_NONSENSE"}, "mode"),
        ({"mode": "MPOL_BIND"}, "nodes"),
        ({"mode": "MPOL_LOCAL", "nodes": "0"}, "nodes"),
        ({"mode": "MPOL_DEFAULT", "nodes": "0"}, "nodes"),
        ({"mode": "MPOL_BIND", "nodes": "a"}, "nodes"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NONSENSE"]}, "flags"),
    ],
)
def test_wrong_memory_policy_names_its_field(values, field):
    with pytest.raises(InvalidArgument, match=rf"^linux\.memoryPolicy\.{field}"):
        MemoryPolicy(Section(values, "linux.memoryPolicy"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("flag", FLAGS)
def test_words_of_the_schema(mode, flag):
    nodes = "" if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else "0"
    policy = MemoryPolicy(Section({"mode": mode, "nodes": nodes, "flags": [flag]}, "m"))
    assert policy.number == MODES[mode] | FLAGS[flag]


def test_policy_the_kernel_refuses_is_named():
    policy = MemoryPolicy(Section({"mode": "MPOL_BIND", "nodes": "1000"}, "linux.memoryPolicy"))
    with pytest.raises(FailedPrecondition, match=r"^linux\.memoryPolicy: the kernel refused MPOL_BIND"):
        policy.apply()


# Scheduler


def scheduling(**scheduler):
    return Scheduling(Section({"scheduler": scheduler}, "process"))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"policy": "SCHED_ISO"}, "policy"),
        ({"policy": "SCHED_OTHER", "nice": 20}, "nice"),
        ({"policy": "SCHED_OTHER", "priority": 1}, "priority"),
        ({"policy": "SCHED_FIFO"}, "priority"),
        ({"policy": "SCHED_RR", "priority": 100}, "priority"),
        ({"policy": "SCHED_BATCH", "runtime": 5}, "runtime"),
        ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NONSENSE"]}, "flags"),
    ],
)
def test_wrong_scheduler_names_its_field(values, field):
    with pytest.raises(InvalidArgument, match=rf"^process\.scheduler\.{field}"):
        scheduling(**values)


def test_scheduler_as_the_kernel_takes_it():
    found = scheduling(
        policy="SCHED_DEADLINE",
        runtime=1,
        deadline=2,
        period=3,
        flags=["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"],
    )
    assert struct.unpack("=IIQiI3QII", found.attributes) == (56, 6, 6, 0, 0, 1, 2, 3, 0, 0)
    assert found.forgotten_on_fork
    assert scheduling(policy="SCHED_OTHER", flags=["SCHED_FLAG_RESET_ON_FORK"]).forgotten_on_fork
    assert not scheduling(policy="SCHED_BATCH", nice=-3).forgotten_on_fork


# Personality


def test_personality():
    assert read_personality(Section({"domain": "LINUX"}, "p")) == 0
    assert read_personality(Section({"domain": "LINUX32"}, "p")) == 8
    assert read_personality(Section({}, "p")) is None


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"domain": "BSD"}, "domain"),
        ({"flags": ["X"], "domain": "LINUX"}, "flags"),
        ({"flags": []}, "domain"),
    ],
)
def test_wrong_personality_names_its_field(values, field):
    with pytest.raises(InvalidArgument, match=rf"^linux\.personality\.{field}"):
        read_personality(Section(values, "linux.personality"))


# Labels


def process(**changes):
    return Process(Section({"args": ["true"], "cwd": "/", **changes}, "process"))


@pytest.mark.row("S9")
def test_label_goes_to_its_attribute_of_the_kernels_procfs(monkeypatch, tmp_path):
    """The modules are not here: what would be opened and written is what counts."""
    monkeypatch.setattr(security_label, "SELINUX", str(tmp_path))
    monkeypatch.setattr(security_label, "APPARMOR", str(tmp_path))
    monkeypatch.setattr(security_label, "attribute_of_apparmor", lambda: "attr/apparmor/exec")
    label = process(selinuxLabel="system_u:system_r:container_t:s0").label
    assert (label.path, label.value) == ("attr/exec", b"system_u:system_r:container_t:s0")
    label = process(apparmorProfile="docker-default").label
    assert (label.path, label.value) == ("attr/apparmor/exec", b"exec docker-default")


@pytest.mark.row("S9")
def test_label_is_not_written_to_what_is_no_procfs(monkeypatch, tmp_path):
    monkeypatch.setattr(security_label, "SELINUX", str(tmp_path))
    (tmp_path / "self/attr").mkdir(parents=True)
    (tmp_path / "self/attr/exec").write_text("image")
    label = process(selinuxLabel="x").label
    fake = os.open(tmp_path, os.O_PATH)
    try:
        with pytest.raises(FailedPrecondition, match="not a file of procfs"):
            label.open(fake)
    finally:
        os.close(fake)
    assert (tmp_path / "self/attr/exec").read_text() == "image"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"selinuxLabel": "x"},
            r"^process\.selinuxLabel: selinux label is specified in config, but selinux is disabled",
        ),
        ({"apparmorProfile": "x"}, r"^process\.apparmorProfile: config provided but apparmor not supported"),
    ],
)
def test_label_without_its_module_is_refused_by_name(monkeypatch, changes, words):
    monkeypatch.setattr(security_label, "SELINUX", "/nothing")
    monkeypatch.setattr(security_label, "APPARMOR", "/nothing")
    with pytest.raises(FailedPrecondition, match=words) as raised:
        process(**changes)
    assert raised.value.hint


def test_unconfined_needs_no_module(monkeypatch):
    monkeypatch.setattr(security_label, "APPARMOR", "/nothing")
    assert process(apparmorProfile="unconfined").label is None


def test_two_labels_are_one_too_many():
    with pytest.raises(InvalidArgument, match=r"process\.apparmorProfile and process\.selinuxLabel"):
        process(apparmorProfile="a", selinuxLabel="b")


# Warnings


def test_unknown_capability_is_left_out_with_a_warning(warnings):
    sets = CapabilitySets(Section({"bounding": ["CAP_NONSENSE", "CAP_KILL"]}, "process.capabilities"))
    assert sets.bounding == 1 << NUMBERS["CAP_KILL"]
    assert len(warnings) == 1
    assert warnings[0].startswith("process.capabilities.bounding: ")
    assert "CAP_NONSENSE" in warnings[0]


def test_impossible_capabilities_are_left_out_with_a_warning(warnings):
    sets = CapabilitySets(
        Section({"effective": ["CAP_KILL"], "ambient": ["CAP_CHOWN"]}, "process.capabilities")
    )
    assert sets.effective == sets.ambient == 0
    assert [each.split(":")[0] for each in warnings] == [
        "process.capabilities.effective",
        "process.capabilities.ambient",
    ]


def test_capability_the_runtime_lacks_is_warned_of(warnings):
    sets = CapabilitySets(Section({"bounding": ["CAP_KILL", "CAP_SYS_RESOURCE"]}, "process.capabilities"))
    sets.warn_of(ALL)
    assert warnings == []
    sets.warn_of(1 << NUMBERS["CAP_KILL"])
    assert warnings == ["process.capabilities: left out, not available here: CAP_SYS_RESOURCE"]


def test_console_size_without_a_terminal_is_ignored():
    assert process(consoleSize={"height": "x"}).height == 0
    with pytest.raises(InvalidArgument, match=r"^process\.consoleSize\.height"):
        process(terminal=True, consoleSize={"height": 70000, "width": 1})
