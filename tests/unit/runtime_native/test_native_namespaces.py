"""Namespaces, mappings, kernel parameters: what fits together and what is refused."""

from __future__ import annotations

import os

import pytest

from barque.spi.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.namespaces import subids
from barque_runtime_native.namespaces.mappings import Mapping, map_text, same_ids
from barque_runtime_native.namespaces.namespaces import NamespacePlan, open_paths, read_time_offsets
from barque_runtime_native.namespaces.user_namespace import needs_tool
from barque_runtime_native.process.sysctl import Sysctl, path_of
from barque_runtime_native.spec import Section


def plan(*kinds, **linux):
    namespaces = [
        {"type": kind} if isinstance(kind, str) else {"type": kind[0], "path": kind[1]} for kind in kinds
    ]
    return NamespacePlan(Section({"namespaces": namespaces, **linux}, "linux"))


MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def test_flags_of_new_namespaces():
    found = plan("mount", "pid", "cgroup")
    assert found.clone_flags == syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID
    assert found.own("cgroup")
    assert not found.own("network")


@pytest.mark.parametrize(
    ("kinds", "linux", "error"),
    [
        ((), {}, InvalidArgument),
        (("pid",), {}, InvalidArgument),
        (("mount", "pid", "pid"), {}, InvalidArgument),
        (("mount", "nonsense"), {}, InvalidArgument),
        (("mount", "user"), {}, InvalidArgument),
        (("mount", "user"), {"uidMappings": MAP}, InvalidArgument),
        (("mount",), {"uidMappings": MAP, "gidMappings": MAP}, InvalidArgument),
        (("mount", ("pid", "/proc/1/ns/pid"), "time", "time"), {}, InvalidArgument),
        (("mount",), {"timeOffsets": {"boottime": {"secs": 1}}}, InvalidArgument),
        (("mount", "user"), {"uidMappings": MAP * 400, "gidMappings": MAP}, InvalidArgument),
        (("mount", "user"), {"uidMappings": [{"size": 0}], "gidMappings": MAP}, InvalidArgument),
    ],
)
def test_what_does_not_fit_is_refused(kinds, linux, error):
    with pytest.raises(error, match="linux"):
        plan(*kinds, **linux)


@pytest.mark.parametrize(
    ("kinds", "rootless", "staged"),
    [
        (("mount", "pid", "user"), False, False),
        (("mount", "pid", "user"), True, False),
        (("mount", ("network", "/n"), "time"), False, False),
        (("mount", ("network", "/n")), True, True),
        (("mount", "time"), True, True),
        (("mount", ("user", "/n")), False, True),
        ((("mount", "/n"),), True, False),
    ],
)
def test_what_needs_a_process_between(kinds, rootless, staged):
    maps = {"uidMappings": MAP, "gidMappings": MAP} if "user" in kinds else {}
    assert plan(*kinds, **maps).needs_stage(rootless=rootless) is staged


@pytest.mark.row("S16")
@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ([(0, 5, 10), (9, 100, 1)], r"uidMappings\[1\]\.containerID: the range overlaps that of linux\.uidMappings\[0\]"),
        ([(20, 100, 1), (0, 95, 10)], r"uidMappings\[0\]\.hostID: the range overlaps that of linux\.uidMappings\[1\]"),
        ([(0, 2**32 - 2, 2)], "beyond the highest id"),
        ([(2**32 - 5, 0, 5)], "beyond the highest id"),
        ([(0, 0, 0)], r"uidMappings\[0\]\.size"),
    ],
)  # fmt: skip
def test_ranges_that_cannot_be(ranges, words):
    entries = [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in ranges]
    with pytest.raises(InvalidArgument, match=words):
        plan("mount", "user", uidMappings=entries, gidMappings=MAP)


def test_ranges_that_touch_are_fine():
    entries = [{"containerID": 1, "hostID": 1, "size": 2**32 - 2}, {"containerID": 0, "hostID": 0, "size": 1}]
    found = plan("mount", "user", uidMappings=entries, gidMappings=entries)
    assert map_text(found.uid_map) == "1 1 4294967294\n0 0 1\n"
    assert same_ids("         0          0          1\n 1 1 4294967294\n", found.gid_map)
    assert not same_ids("0 0 4294967295\n", found.gid_map)


@pytest.mark.parametrize("missing", ["containerID", "hostID", "size"])
def test_a_range_is_whole(missing):
    entry = {key: value for key, value in MAP[0].items() if key != missing}
    with pytest.raises(InvalidArgument, match=rf"uidMappings\[0\]\.{missing} is missing"):
        plan("mount", "user", uidMappings=[entry], gidMappings=MAP)


@pytest.mark.parametrize(
    ("file", "ranges", "permitted", "needed"),
    [
        ("uid_map", [(0, os.geteuid(), 1)], 0, False),
        ("uid_map", [(0, os.geteuid(), 2)], 0, True),
        ("uid_map", [(0, os.geteuid() + 1, 1)], 0, True),
        ("gid_map", [(0, os.getegid(), 1)], 0, False),
        ("gid_map", [(0, os.getegid(), 1), (1, 100000, 9)], 0, True),
        ("gid_map", [(0, os.getegid(), 1), (1, 100000, 9)], 1 << 6, False),
        ("uid_map", [(0, 100000, 9)], 1 << 6, True),
        ("uid_map", [(0, 100000, 9)], 1 << 7, False),
    ],
)
def test_when_the_tools_for_subordinate_ids_are_needed(file, ranges, permitted, needed):
    keys = ("containerID", "hostID", "size")
    mappings = [Mapping(Section(dict(zip(keys, each, strict=True)), "m")) for each in ranges]
    assert needs_tool(file, mappings, permitted) is needed


def test_tool_that_is_missing_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setattr(subids, "DIRECTORIES", (str(tmp_path),))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(FailedPrecondition, match=r"linux\.uidMappings: .*newuidmap.*package uidmap"):
        subids.find_tool("uid_map", "linux.uidMappings")


def test_tool_gets_the_ranges_and_is_heard(monkeypatch, tmp_path):
    monkeypatch.setattr(subids, "DIRECTORIES", (str(tmp_path),))
    tool = tmp_path / "newgidmap"
    tool.write_text('#!/bin/sh\necho "$@" "$PATH$HOME" >&2; exit 3\n')
    tool.chmod(0o755)
    mappings = plan("mount", "user", uidMappings=MAP, gidMappings=MAP).gid_map
    monkeypatch.setenv("HOME", "/not/for/it")
    with pytest.raises(PermissionDenied) as caught:
        subids.write_map_with_tool(42, "gid_map", mappings, "linux.gidMappings")
    assert "linux.gidMappings: newgidmap refused the mappings: 42 0 100000 65536" in str(caught.value)
    assert "/etc/subgid" in str(caught.value)
    assert "/not/for/it" not in str(caught.value)


def test_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidArgument, match=f"network namespace {tmp_path}/x"):
        open_paths(plan("mount", ("network", f"{tmp_path}/x")))


def test_paths_are_opened_with_their_kind():
    targets = open_paths(plan("mount", ("network", "/proc/self/ns/net")))
    try:
        assert [flag for _, flag in targets] == [syscalls.CLONE_NEWNET]
    finally:
        os.close(targets[0][0])


def test_time_offsets():
    section = Section({"boottime": {"secs": -5, "nanosecs": 7}, "monotonic": {}}, "t")
    assert read_time_offsets(section) == "boottime -5 7\n"


@pytest.mark.row("S15")
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
        ("net/ipv4/conf/eth0.1/rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
    ],
)
def test_dot_and_slash_forms(name, path):
    assert path_of(name) == path
    assert Sysctl(name, "1", plan("mount", "network")).path == path


@pytest.mark.row("S15")
@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern", "kernel/core_pattern", "vm.swappiness", "kernel.hostname", "fs.file-max",
        "net/../kernel/core_pattern", "net..ipv4", "fs.mqueue/../file-max", "",
    ],
)  # fmt: skip
def test_parameter_of_the_whole_machine_is_refused(name):
    with pytest.raises(InvalidArgument, match=r"linux\.sysctl"):
        Sysctl(name, "1", plan("mount", "network", "ipc", "uts"))


@pytest.mark.row("S15")
@pytest.mark.parametrize(
    ("name", "kind"),
    [("net.core.somaxconn", "network"), ("kernel.shmmax", "ipc"), ("fs.mqueue.msg_max", "ipc")],
)
def test_parameter_of_a_shared_namespace_is_refused(name, kind):
    with pytest.raises(InvalidArgument, match=f"{kind} namespace"):
        Sysctl(name, "1", plan("mount"))
    assert Sysctl(name, "1", plan("mount", kind)).value == "1"


def test_path_of_the_runtimes_own_user_namespace_changes_nothing():
    found = plan("mount", ("user", "/proc/self/ns/user"))
    assert not found.own("user")
    assert not found.needs_stage(rootless=True)
    with pytest.raises(InvalidArgument, match=r"linux\.uidMappings: .*non-matching"):
        plan("mount", ("user", "/proc/self/ns/user"), uidMappings=MAP, gidMappings=MAP)
