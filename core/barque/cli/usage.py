"""What a container uses, reckoned from the samples of the stats endpoint as docker reckons it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Usage"]


class Usage:
    """One sample. `cpu` and `memory_share` are percents, the rest bytes and numbers; all zero for what does not run."""

    __slots__ = (
        "cpu",
        "id",
        "limit",
        "memory",
        "memory_share",
        "name",
        "pids",
        "read",
        "received",
        "sent",
        "written",
    )

    def __init__(self, sample: Any) -> None:
        memory = sample.get("memory_stats") or {}
        self.name = str(sample.get("name") or "").removeprefix("/")
        self.id = str(sample.get("id") or "")
        self.cpu = _cpu_percent(sample)
        self.memory = _memory_used(memory)
        self.limit = float(memory.get("limit") or 0)
        self.memory_share = self.memory / self.limit * 100 if self.limit else 0.0
        networks = (sample.get("networks") or {}).values()
        self.received = sum(one.get("rx_bytes", 0) for one in networks)
        self.sent = sum(one.get("tx_bytes", 0) for one in networks)
        self.read, self.written = _blocks(sample.get("blkio_stats") or {})
        self.pids = int((sample.get("pids_stats") or {}).get("current") or 0)


def _cpu_percent(sample: Any) -> float:
    """The share of one CPU: two of them busy are 200 percent."""
    now, before = sample.get("cpu_stats") or {}, sample.get("precpu_stats") or {}
    usage, usage_before = now.get("cpu_usage") or {}, before.get("cpu_usage") or {}
    used = (usage.get("total_usage") or 0) - (usage_before.get("total_usage") or 0)
    passed = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
    cpus = now.get("online_cpus") or len(usage.get("percpu_usage") or ())
    return used / passed * cpus * 100 if used > 0 and passed > 0 else 0.0


def _memory_used(memory: Any) -> float:
    """Without the page cache that the kernel would take back first."""
    used, details = memory.get("usage") or 0, memory.get("stats") or {}
    for key in ("total_inactive_file", "inactive_file"):  # of cgroup v1, of v2
        if key in details and details[key] < used:
            return float(used - details[key])
    return float(used)


def _blocks(stats: Any) -> tuple[int, int]:
    read = written = 0
    for entry in stats.get("io_service_bytes_recursive") or ():
        first = str(entry.get("op") or "")[:1].lower()
        if first == "r":
            read += entry.get("value", 0)
        elif first == "w":
            written += entry.get("value", 0)
    return read, written
