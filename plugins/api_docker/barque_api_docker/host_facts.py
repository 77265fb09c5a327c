"""What `GET /info` tells of the host: read from the kernel, none of it assumed."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

__all__ = ["bridge_filtering", "file_system", "forwarding", "host", "limits", "proxies", "security_options"]

_CGROUPS = "/sys/fs/cgroup"
# Docker's name of a limit, and what there is where the kernel has it: the controller, a file of it on v1, one on v2 ("": never).
_LIMITS = (
    ("MemoryLimit", "memory", "memory.limit_in_bytes", "memory.max"),
    ("SwapLimit", "memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    ("CpuCfsPeriod", "cpu", "cpu.cfs_period_us", "cpu.max"),
    ("CpuCfsQuota", "cpu", "cpu.cfs_quota_us", "cpu.max"),
    ("CPUShares", "cpu", "cpu.shares", "cpu.weight"),
    ("CPUSet", "cpuset", "cpuset.cpus", "cpuset.cpus"),
    ("PidsLimit", "pids", "cgroup.procs", "pids.max"),
    ("OomKillDisable", "memory", "memory.oom_control", ""),
)
_WARNINGS = {
    "MemoryLimit": "No memory limit support",
    "SwapLimit": "No swap limit support",
    "CpuCfsQuota": "No cpu cfs quota support",
    "CpuCfsPeriod": "No cpu cfs period support",
    "CPUShares": "No cpu shares support",
    "CPUSet": "No cpuset support",
    "PidsLimit": "No pids limit support",
}
# Docker's names of file systems, where the kernel has others.
_FILE_SYSTEMS = {"ext2": "extfs", "ext3": "extfs", "ext4": "extfs", "overlay": "overlayfs"}


@cache
def host() -> dict[str, Any]:
    """Facts that do not change while we run."""
    names = _os_release()
    return {
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "KernelVersion": os.uname().release,
        "OperatingSystem": names.get("PRETTY_NAME", "Linux"),
        "OSVersion": names.get("VERSION_ID", ""),
        "OSType": "linux",
        "Architecture": os.uname().machine,
        "Name": os.uname().nodename,
    }


def _os_release() -> dict[str, str]:
    import platform  # for the first /info only

    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


@cache
def limits(cgroup_version: str) -> tuple[dict[str, bool], tuple[str, ...]]:
    """Which limits the kernel can set, by Docker's names, and Docker's warnings for those it cannot."""
    found = {
        name: _has(controller, v2 if cgroup_version == "2" else v1, cgroup_version)
        for name, controller, v1, v2 in _LIMITS
    }
    lacking = tuple(f"WARNING: {text}" for name, text in _WARNINGS.items() if not found[name])
    return found, lacking


def _has(controller: str, file: str, cgroup_version: str) -> bool:
    """On v2 the root group has no limits of its own, so it is its children that are looked at."""
    if not file:
        return False
    if cgroup_version != "2":
        return os.path.exists(f"{_CGROUPS}/{controller}/{_own_group(controller)}/{file}") or os.path.exists(
            f"{_CGROUPS}/{controller}/{file}"
        )
    with os.scandir(_CGROUPS) as entries:
        return any(os.path.exists(f"{entry.path}/{file}") for entry in entries if entry.is_dir())


def _own_group(controller: str) -> str:
    for line in _lines("/proc/self/cgroup"):
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path.strip("/")
    return ""


def file_system(path: str) -> str:
    """The type of the file system at `path`, in Docker's words."""
    found = ("", "unknown")
    for line in _lines("/proc/self/mountinfo"):
        fields, _, rest = line.partition(" - ")
        place = fields.split()[4].encode().decode("unicode_escape").rstrip("/")
        if f"{path}/".startswith(f"{place}/") and len(place) >= len(found[0]):
            found = (place, rest.split()[0])
    return _FILE_SYSTEMS.get(found[1], found[1])


def security_options(cgroup_version: str) -> list[str]:
    """What confines containers here. `rootless`: the engine is root in a user namespace only (user_namespaces(7))."""
    options = ["name=seccomp,profile=builtin"]
    if _lines("/sys/module/apparmor/parameters/enabled") == ["Y"]:
        options.insert(0, "name=apparmor")
    if os.path.exists("/sys/fs/selinux/enforce"):
        options.append("name=selinux")
    if [line.split() for line in _lines("/proc/self/uid_map")] != [["0", "0", "4294967295"]]:
        options.append("name=rootless")
    if cgroup_version == "2":
        options.append("name=cgroupns")
    return options


def forwarding() -> bool:
    """Whether packets go from one interface to another."""
    return _is_on("/proc/sys/net/ipv4/ip_forward")


def bridge_filtering() -> dict[str, bool]:
    """Whether what crosses a bridge is shown to iptables."""
    return {
        "BridgeNfIptables": _is_on("/proc/sys/net/bridge/bridge-nf-call-iptables"),
        "BridgeNfIp6tables": _is_on("/proc/sys/net/bridge/bridge-nf-call-ip6tables"),
    }


def proxies() -> dict[str, str]:
    """What the daemon was told of proxies; passwords in them stay here."""
    return {
        name: _masked(os.environ.get(variable) or os.environ.get(variable.lower()) or "")
        for name, variable in (
            ("HttpProxy", "HTTP_PROXY"),
            ("HttpsProxy", "HTTPS_PROXY"),
            ("NoProxy", "NO_PROXY"),
        )
    }


def _masked(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}://xxxxx:xxxxx@{place}" if separator and at and user else url


def _is_on(file: str) -> bool:
    return _lines(file) == ["1"]


def _lines(file: str) -> list[str]:
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as opened:
            return opened.read().splitlines()
    except OSError:
        return []
