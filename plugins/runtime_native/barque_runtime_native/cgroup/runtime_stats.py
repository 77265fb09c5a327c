"""The contract's `RuntimeStats` of a container."""

from __future__ import annotations

from barque.spi.errors import Conflict
from barque.spi.runtime import BlockIo, HugepageUsage, RuntimeStats
from barque_runtime_native.cgroup.stats import measure
from barque_runtime_native.cgroup.update import layout_of
from barque_runtime_native.state import STOPPED, Store, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# v1 writes the largest multiple of a page below 2^63, v2 `max`.
UNLIMITED = 2**62


def stats(container: str, root: str) -> RuntimeStats:
    """What the container uses now. Errors: as `RuntimeHooks.runtime_stats` says."""
    store = Store(root, container)
    document = store.read()
    if status_of(store, document)[0] == STOPPED:
        raise Conflict(f"container {container} is stopped: it uses nothing any more")
    return converted(measure(document["cgroups"], layout_of(document)))


def converted(data: dict[str, Any]) -> RuntimeStats:
    """From the shape of runc's line."""
    usage, throttling = data["cpu"]["usage"], data["cpu"]["throttling"]
    memory, pids = data["memory"]["usage"], data["pids"]
    return RuntimeStats(
        cpu_total=usage.get("total", 0),
        cpu_user=usage["user"],
        cpu_system=usage["kernel"],
        cpu_per_cpu=tuple(usage.get("percpu", ())),
        cpu_periods=throttling.get("periods", 0),
        cpu_throttled_periods=throttling.get("throttledPeriods", 0),
        cpu_throttled_time=throttling.get("throttledTime", 0),
        memory_usage=memory.get("usage", 0),
        memory_max_usage=memory.get("max", 0),
        memory_limit=memory["limit"] if memory["limit"] < UNLIMITED else 0,
        memory_failures=memory["failcnt"],
        memory_detail=data["memory"].get("raw", {}),
        pids_current=pids.get("current", 0),
        pids_limit=pids.get("limit", 0),
        block_io=block_io(data["blkio"]),
        hugepages={
            size: HugepageUsage(each.get("usage", 0), each.get("max", 0), each["failcnt"])
            for size, each in data["hugetlb"].items()
        },
    )


def block_io(blkio: dict[str, list[dict[str, Any]]]) -> tuple[BlockIo, ...]:
    """The counters of reads and writes, device by device."""
    found: dict[tuple[int, int], dict[str, int]] = {}
    for total, operations in blkio.items():
        for each in operations:
            device = (each.get("major", 0), each.get("minor", 0))
            found.setdefault(device, {})[f"{total} {each['op']}"] = each.get("value", 0)
    size, count = "ioServiceBytesRecursive", "ioServicedRecursive"
    names = (f"{size} Read", f"{size} Write", f"{count} Read", f"{count} Write")
    return tuple(
        BlockIo(*device, *(values.get(name, 0) for name in names)) for device, values in found.items()
    )
