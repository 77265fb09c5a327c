"""Namespaces, mappings, kernel parameters: what fits together and what is refused."""

from __future__ import annotations

import os

import pytest

from barque.spi.errors import InvalidArgument, NotImplemented
from barque_runtime_native import syscalls
from barque_runtime_native.namespaces import NamespacePlan, open_paths, read_time_offsets
from barque_runtime_native.spec import Section
from barque_runtime_native.sysctl import Sysctl, path_of


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
        (("mount", ("user", "/proc/1/ns/user")), {}, NotImplemented),
        ((("mount", "/proc/1/ns/mnt"),), {}, NotImplemented),
        (("mount",), {"timeOffsets": {"boottime": {"secs": 1}}}, InvalidArgument),
        (("mount", "user"), {"uidMappings": MAP * 400, "gidMappings": MAP}, InvalidArgument),
        (("mount", "user"), {"uidMappings": [{"size": 0}], "gidMappings": MAP}, InvalidArgument),
    ],
)
def test_what_does_not_fit_is_refused(kinds, linux, error):
    with pytest.raises(error, match="linux"):
        plan(*kinds, **linux)


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
