"""`linux.sysctl`: only what is a namespace's of the container's own."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.spi.errors import InvalidArgument
from barque_runtime_native.namespaces.namespaces import NamespacePlan
from barque_runtime_native.process.sysctl import Sysctl, namespace_of, path_of
from barque_runtime_native.spec import Section

MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]
EVERY = ("mount", "network", "ipc", "uts", "pid", "user")


def namespaces(*kinds):
    entries = [
        {"type": kind} if isinstance(kind, str) else {"type": kind[0], "path": kind[1]} for kind in kinds
    ]
    maps = {"uidMappings": MAP, "gidMappings": MAP} if "user" in kinds else {}
    return NamespacePlan(Section({"namespaces": entries, **maps}, "linux"))


@pytest.mark.row("S15")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("net.ipv4.ip_forward", "network"),
        ("net/ipv4/conf/eth0.100/rp_filter", "network"),
        ("kernel.shmmax", "ipc"),
        ("kernel/sem", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.domainname", "uts"),
        ("user.max_net_namespaces", "user"),
    ],
)
def test_namespaced_ones_need_their_namespace(name, kind):
    assert Sysctl(name, "1", namespaces("mount", kind)).path == path_of(name)
    with pytest.raises(InvalidArgument, match=f"not allowed in host {kind} namespace"):
        Sysctl(name, "1", namespaces("mount"))


@pytest.mark.row("S15")
@pytest.mark.parametrize(
    ("kind", "name", "file"),
    [
        ("network", "net.ipv4.ip_forward", "net"),
        ("ipc", "kernel.sem", "ipc"),
        ("uts", "kernel.domainname", "uts"),
    ],
)
def test_path_of_the_runtimes_own_namespace_counts_as_the_hosts(kind, name, file):
    plan = namespaces("mount", (kind, f"/proc/{os.getpid()}/ns/{file}"))
    with pytest.raises(InvalidArgument, match=f"not allowed in host {kind} namespace"):
        Sysctl(name, "1", plan)


@pytest.mark.row("S15")
@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "kernel.modprobe",
        "vm.overcommit_memory",
        "fs.file-max",
        "kernel.pid_max",
        "kernel/../kernel/core_pattern",
        "net/../kernel/core_pattern",
        "net..kernel",
        "net/./ipv4",
        "net.",
        "/net/ipv4/ip_forward",
        ".net",
        "",
        "user.max_user_watches",
        "fs.mqueue",
    ],
)
def test_others_are_refused_by_name(name):
    with pytest.raises(InvalidArgument, match=r"linux\.sysctl"):
        Sysctl(name, "1", namespaces(*EVERY))


def test_hostname_has_a_field_of_its_own():
    with pytest.raises(
        InvalidArgument, match=r'"kernel\.hostname" is not allowed as it conflicts with the OCI "hostname"'
    ):
        Sysctl("kernel.hostname", "x", namespaces(*EVERY))


@pytest.mark.row("S15")
@given(st.text(alphabet="./neticorkl_", max_size=30))
def test_no_name_leads_out_of_its_directory(name):
    try:
        path = path_of(name)
    except InvalidArgument:
        return
    assert not {"", ".", ".."} & set(path.split("/"))
    if namespace_of(path):
        assert path.split("/")[0] in ("net", "kernel", "fs", "user")
