"""Docker's default profile: what a container gets when nobody asks otherwise (ACCEPTANCE, "default profile")."""

from __future__ import annotations

import functools
import glob
import os
from typing import Any

__all__ = ["DEFAULT_PATH", "MASKED_PATHS", "READONLY_PATHS", "device_rules", "masked_paths", "system_mounts"]

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHM_SIZE = 64 << 20

MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_CHARACTER_DEVICES = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None), (10, 200))


@functools.cache
def masked_paths() -> tuple[str, ...]:
    """The masked paths, with the thermal throttle counters of the CPUs that are there."""
    return (*MASKED_PATHS, *sorted(glob.glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")))


def device_rules(privileged: bool) -> list[dict[str, Any]]:
    """The device cgroup's rules, in order: mknod of anything, use of Docker's list (so /dev/fuse, 10:229, is refused)."""
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "access": "m"},
        {"allow": True, "type": "b", "access": "m"},
    ]
    for major, minor in _CHARACTER_DEVICES:
        rule: dict[str, Any] = {"allow": True, "type": "c", "major": major, "access": "rwm"}
        if minor is not None:
            rule["minor"] = minor
        rules.append(rule)
    return rules


_TTY = 5  # the group's number in every distribution


def mount(destination: str, type: str, source: str, *options: str) -> dict[str, Any]:
    """One OCI mount."""
    return {"destination": destination, "type": type, "source": source, "options": list(options)}


def system_mounts(
    privileged: bool, shm_size: int, host_ipc: bool, last_gid: int = _TTY
) -> list[dict[str, Any]]:
    """/proc, /dev, /sys and what is below them. Terminals belong to the group `tty`, if there is one: see `last_gid` of
    `SpecInputs`."""
    mode = "rw" if privileged else "ro"
    guarded = ("nosuid", "noexec", "nodev")
    mounts = [
        mount("/proc", "proc", "proc", *guarded),
        mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            *((f"gid={_TTY}",) if last_gid >= _TTY else ()),
        ),
        mount("/sys", "sysfs", "sysfs", *guarded, mode),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", mode, *guarded),
    ]
    if host_ipc:
        shared = [path for path in ("/dev/mqueue", "/dev/shm") if os.path.isdir(path)]
        mounts += [mount(path, "bind", path, "rbind", *guarded) for path in shared]
    else:
        mounts.append(mount("/dev/mqueue", "mqueue", "mqueue", *guarded))
        size = f"size={shm_size or DEFAULT_SHM_SIZE}"
        mounts.append(mount("/dev/shm", "tmpfs", "shm", *guarded, "mode=1777", size))
    return mounts
