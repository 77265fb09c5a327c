"""What a container uses, from the files of its cgroups: the same for every runtime, and crun has no `events`."""

from __future__ import annotations

import os
from typing import Any

from barque.spi.runtime import BlockIo, HugepageUsage, RuntimeStats
from barque_runtime_runc.cgroups import ContainerCgroups, read_file, read_number, read_table

__all__ = ["read_stats"]

_UNLIMITED = 1 << 62  # v1 writes the largest multiple of a page below 2**63
_HUGEPAGES = "/sys/kernel/mm/hugepages"


def read_stats(cgroups: ContainerCgroups) -> RuntimeStats:
    """All that the kernel tells now; each part from the hierarchy that has its controller."""
    return RuntimeStats(
        **_cpu(cgroups),
        **_memory(cgroups),
        **_pids(cgroups.controller("pids")),
        block_io=_block_io(cgroups),
        hugepages=_hugepages(cgroups),
    )


def _cpu(cgroups: ContainerCgroups) -> dict[str, Any]:
    if "cpuacct" in cgroups.v1:
        return {
            **_cpu_v1(cgroups.v1["cpuacct"]),
            **_throttling(cgroups.v1.get("cpu", ""), 1, "throttled_time"),
        }
    used = read_table(f"{cgroups.v2}/cpu.stat")
    return {
        "cpu_total": used.get("usage_usec", 0) * 1000,
        "cpu_user": used.get("user_usec", 0) * 1000,
        "cpu_system": used.get("system_usec", 0) * 1000,
        "cpu_per_cpu": (),
        **_throttling(cgroups.v2, 1000, "throttled_usec"),
    }


def _cpu_v1(directory: str) -> dict[str, Any]:
    used = read_table(f"{directory}/cpuacct.stat")
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return {
        "cpu_total": read_number(f"{directory}/cpuacct.usage"),
        "cpu_user": used.get("user", 0) * tick,
        "cpu_system": used.get("system", 0) * tick,
        "cpu_per_cpu": tuple(int(n) for n in read_file(f"{directory}/cpuacct.usage_percpu").split()),
    }


def _throttling(directory: str, unit: int, time: str) -> dict[str, Any]:
    stat = read_table(f"{directory}/cpu.stat")
    return {
        "cpu_periods": stat.get("nr_periods", 0),
        "cpu_throttled_periods": stat.get("nr_throttled", 0),
        "cpu_throttled_time": stat.get(time, 0) * unit,
    }


def _memory(cgroups: ContainerCgroups) -> dict[str, Any]:
    directory = cgroups.controller("memory")
    if "memory" in cgroups.v1:
        limit = read_number(f"{directory}/memory.limit_in_bytes")
        return {
            "memory_usage": read_number(f"{directory}/memory.usage_in_bytes"),
            "memory_max_usage": read_number(f"{directory}/memory.max_usage_in_bytes"),
            "memory_limit": 0 if limit > _UNLIMITED else limit,
            "memory_failures": read_number(f"{directory}/memory.failcnt"),
            "memory_detail": read_table(f"{directory}/memory.stat"),
        }
    return {
        "memory_usage": read_number(f"{directory}/memory.current"),
        "memory_max_usage": read_number(f"{directory}/memory.peak"),
        "memory_limit": read_number(f"{directory}/memory.max"),
        "memory_failures": read_table(f"{directory}/memory.events").get("max", 0),
        "memory_detail": read_table(f"{directory}/memory.stat"),
    }


def _pids(directory: str) -> dict[str, Any]:
    return {
        "pids_current": read_number(f"{directory}/pids.current"),
        "pids_limit": read_number(f"{directory}/pids.max"),
    }


def _block_io(cgroups: ContainerCgroups) -> tuple[BlockIo, ...]:
    if "blkio" in cgroups.v1:
        return _block_io_v1(cgroups.v1["blkio"])
    found = []
    for line in read_file(f"{cgroups.v2}/io.stat").splitlines():
        device, *pairs = line.split()
        count = {name: int(value) for name, _, value in (pair.partition("=") for pair in pairs)}
        row = (count.get(name, 0) for name in ("rbytes", "wbytes", "rios", "wios"))
        found.append(BlockIo(*_numbers(device), *row))
    return tuple(found)


def _block_io_v1(directory: str) -> tuple[BlockIo, ...]:
    """Lines are `8:0 Read 4096`; a last one is `Total 4096`."""
    counts: dict[str, dict[tuple[str, str], int]] = {}
    for what in ("io_service_bytes", "io_serviced"):
        for line in read_file(f"{directory}/blkio.throttle.{what}_recursive").splitlines():
            fields = line.split()
            if len(fields) == 3:
                counts.setdefault(fields[0], {})[what, fields[1]] = int(fields[2])
    keys = [(what, way) for what in ("io_service_bytes", "io_serviced") for way in ("Read", "Write")]
    return tuple(
        BlockIo(*_numbers(device), *(count.get(key, 0) for key in keys)) for device, count in counts.items()
    )


def _numbers(device: str) -> tuple[int, int]:
    major, _, minor = device.partition(":")
    return int(major), int(minor)


def _hugepages(cgroups: ContainerCgroups) -> dict[str, HugepageUsage]:
    directory = cgroups.controller("hugetlb")
    if not directory:
        return {}
    of_size = _hugepages_v1 if "hugetlb" in cgroups.v1 else _hugepages_v2
    return {size: of_size(f"{directory}/hugetlb.{size}") for size in _page_sizes()}


def _hugepages_v1(prefix: str) -> HugepageUsage:
    names = ("usage_in_bytes", "max_usage_in_bytes", "failcnt")
    return HugepageUsage(*(read_number(f"{prefix}.{name}") for name in names))


def _hugepages_v2(prefix: str) -> HugepageUsage:
    """v2 keeps no maximum."""
    return HugepageUsage(read_number(f"{prefix}.current"), 0, read_table(f"{prefix}.events").get("max", 0))


def _page_sizes() -> list[str]:
    """In the words of the cgroup files: 2MB, 1GB."""
    if not os.path.isdir(_HUGEPAGES):
        return []
    kilobytes = [int(name.removeprefix("hugepages-").removesuffix("kB")) for name in os.listdir(_HUGEPAGES)]
    return [_page_size(size) for size in sorted(kilobytes)]


def _page_size(kilobytes: int) -> str:
    if kilobytes >= 1 << 20:
        return f"{kilobytes >> 20}GB"
    return f"{kilobytes >> 10}MB" if kilobytes >= 1 << 10 else f"{kilobytes}KB"
