"""What the native runtime refuses: key of the table -> a value that is refused. The table holds the errors it gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from barque_runtime_native import cgroup_layout
from barque_runtime_native.cgroup_layout import read_layout
from barque_runtime_native.plan import Plan
from barque_runtime_native.seccomp import compile_filter
from barque_runtime_native.spec import Section
from native_fields import configured

from barque.spi.errors import BarqueError

REFUSED: dict[str, Any] = {
    "process.commandLine": "true",
    "process.user.username": "ContainerUser",
    "process.execCPUAffinity.initial": "0",
    "process.execCPUAffinity.final": "0",
    "linux.netDevices.*.name": "eth0",
    "linux.resources.rdma.*.hcaHandles": 1,
    "linux.resources.rdma.*.hcaObjects": 1,
    "linux.seccomp.listenerPath": "/run/listener",
    "linux.seccomp.listenerMetadata": "x",
    "linux.mountLabel": "system_u:object_r:container_file_t:s0",
    "linux.intelRdt.closID": "barque",
    "linux.intelRdt.schemata[]": "MB:0=50",
    "linux.intelRdt.l3CacheSchema": "L3:0=f",
    "linux.intelRdt.memBwSchema": "MB:0=50",
    "linux.intelRdt.enableMonitoring": True,
    "linux.memoryPolicy.mode": "MPOL_BIND",
    "linux.memoryPolicy.nodes": "0",
    "linux.memoryPolicy.flags[]": "MPOL_F_STATIC_NODES",
    "linux.personality.flags[]": "ADDR_NO_RANDOMIZE",
    "mounts[].uidMappings[].containerID": 0,
    "mounts[].uidMappings[].hostID": 100000,
    "mounts[].uidMappings[].size": 1000,
    "mounts[].gidMappings[].containerID": 0,
    "mounts[].gidMappings[].hostID": 100000,
    "mounts[].gidMappings[].size": 1000,
    "solaris": {"milestone": "x"},
    "windows": {"layerFolders": ["x"]},
    "vm": {"kernel": {"path": "/vmlinux"}},
    "zos": {"namespaces": []},
    "freebsd": {"jail": {}},
}


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
    "linux.resources.rdma.*.hcaHandles": 1,
    "linux.resources.rdma.*.hcaObjects": 1,
}

# Layouts that have everything, so that what a plan says does not depend on the machine.
CONTROLLERS = "cpu cpuacct cpuset memory devices freezer blkio pids net_cls net_prio hugetlb rdma".split()
LAYOUTS = {
    "v1": read_layout(
        "".join(
            f"1 1 0:1 / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n" for name in CONTROLLERS
        ),
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
    """The error for a row of the table: a field with the value of REFUSED, or a word."""
    path, _, word = key.partition("=")
    config, _ = configured(rootfs, path, word or REFUSED[key])
    return refusal(config, rootfs.parent, layout).replace(str(rootfs), "ROOTFS")
