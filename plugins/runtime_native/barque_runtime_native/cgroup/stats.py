"""What a container uses, read from its cgroups, in the shape of `runc events --stats`.

v1: Documentation/admin-guide/cgroup-v1; v2: Documentation/admin-guide/cgroup-v2.rst. A file that is not there (its
controller is off, or the kernel older) counts as nothing. Times are nanoseconds, sizes bytes.
"""

from __future__ import annotations

import os

from barque_runtime_native.cgroup.layout import Layout, read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

USER_HZ = 100  # of every architecture this runtime knows
NO_LIMIT = 2**64 - 1


def measure(cgroups: list[str], layout: Layout) -> dict[str, Any]:
    """The member `data` of runc's line."""
    directories = layout.directories(cgroups)
    if layout.unified:
        from barque_runtime_native.cgroup import stats_v2 as cgroup_stats_v2

        found = cgroup_stats_v2.measure(directories.get("", ""))
    else:
        found = {
            "cpu": _cpu(directories.get("cpuacct", ""), directories.get("cpu", "")),
            "cpuset": _cpuset(directories.get("cpuset", "")),
            "memory": _memory(directories.get("memory", "")),
            "pids": pids(directories.get("pids", "")),
            "blkio": _blkio(directories.get("blkio", "")),
            "hugetlb": _hugetlb(directories.get("hugetlb", "")),
        }
    return {**found, "intel_rdt": {}, "network_interfaces": None}


def text(directory: str, file: str) -> str:
    """A control file; empty when it is not there, or tells nothing in this cgroup."""
    try:
        return read_text(f"{directory}/{file}") if directory else ""
    except OSError:
        return ""


def number(directory: str, file: str) -> int:
    """A control file with one number; `max` is the largest there is."""
    word = text(directory, file).strip()
    return NO_LIMIT if word == "max" else int(word) if word.lstrip("-").isdigit() else 0


def table(directory: str, file: str) -> dict[str, int]:
    """A control file with a name and a number a line."""
    rows = (line.split() for line in text(directory, file).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def set_only(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without zeros: runc leaves these out."""
    return {key: value for key, value in values.items() if value}


def throttling(stat: Mapping[str, int], time: int) -> dict[str, Any]:
    """Of `cpu.stat`."""
    return set_only(
        {
            "periods": stat.get("nr_periods", 0),
            "throttledPeriods": stat.get("nr_throttled", 0),
            "throttledTime": time,
        }
    )


def _cpu(accounting: str, scheduling: str) -> dict[str, Any]:
    ticks = table(accounting, "cpuacct.stat")
    columns = [line.split() for line in text(accounting, "cpuacct.usage_all").splitlines()[1:]]
    stat = table(scheduling, "cpu.stat")
    return {
        "usage": {
            **set_only({
                "total": number(accounting, "cpuacct.usage"),
                "percpu": [int(word) for word in text(accounting, "cpuacct.usage_percpu").split()],
                "percpu_kernel": [int(row[2]) for row in columns],
                "percpu_user": [int(row[1]) for row in columns],
            }),
            "kernel": ticks.get("system", 0) * 10**9 // USER_HZ,
            "user": ticks.get("user", 0) * 10**9 // USER_HZ,
        },
        "throttling": throttling(stat, stat.get("throttled_time", 0)),
    }  # fmt: skip


def _cpuset(directory: str) -> dict[str, Any]:
    flags = (
        "cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page",
        "memory_spread_slab", "memory_pressure", "sched_load_balance", "sched_relax_domain_level",
    )  # fmt: skip
    lists = {key: numbers_of(text(directory, f"cpuset.{key}")) for key in ("cpus", "mems")}
    return {**set_only(lists), **{key: number(directory, f"cpuset.{key}") for key in flags}}


def numbers_of(ranges: str) -> list[int]:
    """`0-2,5` as numbers."""
    found: list[int] = []
    for part in ranges.strip().split(",") if ranges.strip() else ():
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def _memory(directory: str) -> dict[str, Any]:
    raw = table(directory, "memory.stat")

    def entry(kind: str) -> dict[str, Any]:
        files = {"limit": "limit_in_bytes", "usage": "usage_in_bytes", "max": "max_usage_in_bytes"}
        values = {key: number(directory, f"memory.{kind}{file}") for key, file in files.items()}
        return {
            "limit": values.pop("limit"),
            **set_only(values),
            "failcnt": number(directory, f"memory.{kind}failcnt"),
        }

    return {
        **set_only({"cache": raw.get("cache", 0)}),
        "usage": entry(""),
        "swap": entry("memsw."),
        "kernel": entry("kmem."),
        "kernelTCP": entry("kmem.tcp."),
        **set_only({"raw": dict(sorted(raw.items()))}),
    }


def pids(directory: str) -> dict[str, Any]:
    """The same on v1 and v2; no limit is left out."""
    limit = number(directory, "pids.max")
    return set_only(
        {"current": number(directory, "pids.current"), "limit": 0 if limit == NO_LIMIT else limit}
    )


def _blkio(directory: str) -> dict[str, Any]:
    """From the first scheduler or policy that has counted something."""
    for prefix in ("blkio.bfq.", "blkio.throttle."):
        found = {
            key: _operations(text(directory, f"{prefix}{file}_recursive"))
            for key, file in (("ioServiceBytesRecursive", "io_service_bytes"), ("ioServicedRecursive", "io_serviced"))
        }  # fmt: skip
        if found["ioServiceBytesRecursive"]:
            return set_only(found)
    return {}


def _operations(lines: str) -> list[dict[str, Any]]:
    """Lines such as `8:0 Read 4096`; the sum of all devices, which has no number, is left out."""
    rows = (line.split() for line in lines.splitlines())
    return [operation(row[0], row[1], int(row[2])) for row in rows if len(row) == 3]


def operation(device: str, name: str, value: int) -> dict[str, Any]:
    """One counter of one device."""
    major, _, minor = device.partition(":")
    return set_only({"major": int(major), "minor": int(minor), "op": name, "value": value})


def _hugetlb(directory: str) -> dict[str, Any]:
    return {
        size: {
            **set_only(
                {
                    "usage": number(directory, f"hugetlb.{size}.usage_in_bytes"),
                    "max": number(directory, f"hugetlb.{size}.max_usage_in_bytes"),
                }
            ),
            "failcnt": number(directory, f"hugetlb.{size}.failcnt"),
        }
        for size in page_sizes(directory, ".limit_in_bytes")
    }


def page_sizes(directory: str, suffix: str) -> list[str]:
    """The sizes of huge pages that the cgroup counts, as the kernel writes them."""
    names = os.listdir(directory) if directory and os.path.isdir(directory) else []
    sizes = [
        name[8 : -len(suffix)] for name in names if name.startswith("hugetlb.") and name.endswith(suffix)
    ]
    return sorted(size for size in sizes if "." not in size)
