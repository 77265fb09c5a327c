"""OCI documents for tests of runtimes: a container as Docker's defaults make it, and an exec into it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "CAPABILITIES",
    "CAPABILITY_MASK",
    "FORBIDDEN_SYSCALLS",
    "MASKED_PATHS",
    "READONLY_PATHS",
    "container",
    "process",
]

CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT "
        "KILL AUDIT_WRITE"
    ).split()
)
CAPABILITY_MASK = 0xA80425FB
MASKED_PATHS = (
    *(f"/proc/{name}" for name in "acpi asound interrupts kcore keys latency_stats sched_debug scsi".split()),
    *("/proc/timer_list", "/proc/timer_stats", "/sys/firmware"),
)
READONLY_PATHS = tuple(f"/proc/{name}" for name in "bus fs irq sys sysrq-trigger".split())
# Enough to see that a filter is in force; the whole of Docker's profile is the engine's matter.
FORBIDDEN_SYSCALLS = (
    "unshare",
    "mount",
    "umount2",
    "keyctl",
    "add_key",
    "bpf",
    "perf_event_open",
    "kexec_load",
)

_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
_SAFE = ("nosuid", "noexec", "nodev")
_CHARACTER_DEVICES = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None))


def process(args: Sequence[str], **changes: Any) -> dict[str, Any]:
    """An OCI `process`: root with Docker's capabilities in /, no terminal; `changes` replace members."""
    return {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": list(args),
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "cwd": "/",
        "capabilities": {name: list(CAPABILITIES) for name in ("bounding", "effective", "permitted")},
        "noNewPrivileges": False,
        **changes,
    }


def container(
    rootfs: str, args: Sequence[str], cgroup: str, *, without: Sequence[str] = (), **changes: Any
) -> dict[str, Any]:
    """A whole config.json with all namespaces but those `without`; `changes` go into its `process`."""
    kinds = [kind for kind in ("pid", "network", "ipc", "uts", "mount") if kind not in without]
    return {
        "ociVersion": "1.0.2",
        "process": process(args, **changes),
        "root": {"path": rootfs, "readonly": False},
        **({} if "uts" in without else {"hostname": "kit"}),
        "mounts": _mounts(),
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": kind} for kind in kinds],
            "resources": {"devices": _device_rules(), "pids": {"limit": 64}, "memory": {"limit": 64 << 20}},
            "seccomp": _seccomp(),
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READONLY_PATHS),
        },
    }


def _mounts() -> list[Mapping[str, Any]]:
    rows: list[tuple[str, str, tuple[str, ...]]] = [
        ("/proc", "proc", _SAFE),
        ("/dev", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        ("/dev/pts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
        ("/sys", "sysfs", (*_SAFE, "ro")),
        ("/dev/mqueue", "mqueue", _SAFE),
        ("/dev/shm", "tmpfs", (*_SAFE, "mode=1777", "size=65536k")),
    ]
    return [
        {"destination": path, "type": kind, "source": kind, "options": list(opts)}
        for path, kind, opts in rows
    ]


def _device_rules() -> list[Mapping[str, Any]]:
    rules: list[Mapping[str, Any]] = [{"allow": False, "access": "rwm"}]
    rules += [{"allow": True, "type": kind, "access": "m"} for kind in ("c", "b")]
    for major, minor in _CHARACTER_DEVICES:
        rule = {"allow": True, "type": "c", "major": major, "access": "rwm"}
        rules.append(rule if minor is None else {**rule, "minor": minor})
    return rules


def _seccomp() -> Mapping[str, Any]:
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": list(_ARCHITECTURES[platform.machine()]),
        "syscalls": [{"names": list(FORBIDDEN_SYSCALLS), "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    }
