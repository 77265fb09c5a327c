"""What a container uses, from a cgroup of v2, in the shape that `stats` gives v1's.

As in runc's lines, memory and swap are told together, as v1 counts them.
"""

from __future__ import annotations

from barque_runtime_native.cgroup.stats import (
    NO_LIMIT,
    number,
    operation,
    page_sizes,
    pids,
    set_only,
    table,
    text,
    throttling,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Of io.stat: whose total it is, and the operation's name
IO = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}
CPUSET_FLAGS = (
    "cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab",
    "memory_pressure", "sched_load_balance", "sched_relax_domain_level",
)  # fmt: skip


def measure(directory: str) -> dict[str, Any]:
    """All but what no cgroup knows."""
    return {
        "cpu": _cpu(directory),
        "cpuset": dict.fromkeys(CPUSET_FLAGS, 0),
        "memory": _memory(directory),
        "pids": pids(directory),
        "blkio": _blkio(directory),
        "hugetlb": _hugetlb(directory),
    }


def _cpu(directory: str) -> dict[str, Any]:
    stat = table(directory, "cpu.stat")
    return {
        "usage": {
            **set_only({"total": stat.get("usage_usec", 0) * 1000}),
            "kernel": stat.get("system_usec", 0) * 1000,
            "user": stat.get("user_usec", 0) * 1000,
        },
        "throttling": throttling(stat, stat.get("throttled_usec", 0) * 1000),
    }


def _memory(directory: str) -> dict[str, Any]:
    raw = table(directory, "memory.stat")
    limit, usage = number(directory, "memory.max"), number(directory, "memory.current")
    swap_limit = number(directory, "memory.swap.max")
    both = NO_LIMIT if NO_LIMIT in (limit, swap_limit) else limit + swap_limit
    none = {"limit": 0, "failcnt": 0}
    return {
        **set_only({"cache": raw.get("file", 0)}),
        "usage": {
            "limit": limit,
            **set_only({"usage": usage, "max": number(directory, "memory.peak")}),
            "failcnt": table(directory, "memory.events").get("max", 0),
        },
        "swap": {
            "limit": both,
            **set_only({"usage": usage + number(directory, "memory.swap.current")}),
            "failcnt": table(directory, "memory.swap.events").get("max", 0),
        },
        "kernel": none,
        "kernelTCP": none,
        **set_only({"raw": dict(sorted(raw.items()))}),
    }


def _blkio(directory: str) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in text(directory, "io.stat").splitlines():
        device, *pairs = line.split()
        for pair in pairs:
            name, _, value = pair.partition("=")
            if name in IO:
                total, operation_name = IO[name]
                found.setdefault(total, []).append(operation(device, operation_name, int(value)))
    return found


def _hugetlb(directory: str) -> dict[str, Any]:
    return {
        size: {
            **set_only({"usage": number(directory, f"hugetlb.{size}.current")}),
            "failcnt": table(directory, f"hugetlb.{size}.events").get("max", 0),
        }
        for size in page_sizes(directory, ".max")
    }
