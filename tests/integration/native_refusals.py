"""What the native runtime refuses: field -> a value that is refused. The table holds the errors it gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from native_fields import configured

from barque.spi.errors import BarqueError
from barque_runtime_native.cgroup import layout as cgroup_layout
from barque_runtime_native.cgroup.layout import read_layout
from barque_runtime_native.plan import Plan
from barque_runtime_native.seccomp.compiler import compile_filter
from barque_runtime_native.spec import Section

REFUSED: dict[str, Any] = {
    "process.commandLine": "true",
    "process.user.username": "ContainerUser",
    "linux.personality.flags[]": "ADDR_NO_RANDOMIZE",
    "solaris": {"milestone": "x"},
    "windows": {"layerFolders": ["x"]},
    "vm": {"kernel": {"path": "/vmlinux"}},
    "zos": {"namespaces": []},
    "freebsd": {"jail": {}},
}
# What a host lacks is told before its members are looked at.
BY_HOST = ("linux.intelRdt", "linux.mountLabel")

# Honoured on one version of cgroups, refused on the other.
ON_V1_ONLY: dict[str, Any] = {
    "linux.resources.cpu.realtimePeriod": 1000000,
    "linux.resources.cpu.realtimeRuntime": 950000,
    "linux.resources.memory.kernel": 1 << 30,
    "linux.resources.memory.kernelTCP": 1 << 30,
    "linux.resources.memory.swappiness": 10,
    "linux.resources.memory.disableOOMKiller": True,
    "linux.resources.memory.useHierarchy": True,
    "linux.resources.network.classID": 0x100001,
    "linux.resources.network.priorities[].name": "lo",
    "linux.resources.network.priorities[].priority": 5,
    "linux.resources.blockIO.leafWeight": 100,
    "linux.resources.blockIO.weightDevice[].leafWeight": 100,
}
ON_V2_ONLY: dict[str, Any] = {
    "linux.resources.unified.*": "5",
}

# Layouts that have everything, so that what a plan says does not depend on the machine.
CONTROLLERS = "cpu cpuacct cpuset memory devices freezer blkio pids net_cls net_prio hugetlb rdma".split()
LAYOUTS = {
    "v1": read_layout(
        "".join(f"1 1 0:1 / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n" for name in CONTROLLERS),
        "".join(f"{number}:{name}:/\n" for number, name in enumerate(CONTROLLERS, 1)),
    ),
    "v2": read_layout("1 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/\n"),
}


def refusal(config: dict[str, Any], bundle: Path, layout: str = "v1") -> str:
    """The error that a configuration gets before anything of the system is changed; empty when it gets none."""
    before, cgroup_layout._layout = cgroup_layout._layout, LAYOUTS[layout]
    try:
        plan = Plan("box", str(bundle), config)
        if plan.seccomp:
            compile_filter(Section(plan.seccomp.values, "linux.seccomp"))
    except BarqueError as error:
        return str(error)
    finally:
        cgroup_layout._layout = before
    return ""


def refused_word(key: str, rootfs: Path, layout: str = "v1") -> str:
    """The error for a row of the table, a field with its value in one of the lists above."""
    value = {**ON_V1_ONLY, **ON_V2_ONLY, **REFUSED}[key]
    config, _ = configured(rootfs, key, value)
    return refusal(config, rootfs.parent, layout)
