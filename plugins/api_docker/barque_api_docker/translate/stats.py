"""What a container uses, as `docker stats` reads it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from barque.spi.frontend import ContainerUse, InterfaceUse
from barque.spi.runtime import BlockIo, RuntimeStats
from barque_api_docker.translate.text import rfc3339

__all__ = ["Reading", "absent_document", "stats_document"]

_NEVER = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Reading:
    """A container's use at one time, beside the time the whole machine's processors have spent until then, in ns."""

    use: ContainerUse
    time_ns: int
    system_ns: int

    @staticmethod
    def of(use: ContainerUse) -> Reading:
        """Taken now."""
        return Reading(use, time.time_ns(), system_time())


def system_time() -> int:
    """User, nice, system, idle, iowait, irq, softirq and steal time of all processors (proc_stat(5)), in ns."""
    with open("/proc/stat") as file:
        ticks = sum(map(int, file.readline().split()[1:9]))
    return ticks * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def stats_document(now: Reading, before: Reading | None) -> dict[str, Any]:
    """One document of `GET /containers/{id}/stats`."""
    stats = now.use.stats
    return {
        "read": rfc3339(now.time_ns),
        "preread": rfc3339(before.time_ns) if before else _NEVER,
        "pids_stats": _present(current=stats.pids_current, limit=stats.pids_limit),
        "blkio_stats": _block_io(stats.block_io, empty=[] if stats.cpu_per_cpu else None),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(now),
        "precpu_stats": _cpu(before) if before else _no_cpu(),
        "memory_stats": _memory(stats),
        **_networks(now.use.interfaces),
    }


def _networks(interfaces: tuple[InterfaceUse, ...]) -> dict[str, Any]:
    """Of a container without a network dockerd does not speak of networks."""
    return {"networks": {one.name: _interface(one) for one in interfaces}} if interfaces else {}


def absent_document() -> dict[str, Any]:
    """The document of a container that does not run."""
    return {
        "read": _NEVER,
        "preread": _NEVER,
        "pids_stats": {},
        "blkio_stats": _block_io((), empty=None),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _no_cpu(),
        "precpu_stats": _no_cpu(),
        "memory_stats": {},
    }


def _cpu(reading: Reading) -> dict[str, Any]:
    stats = reading.use.stats
    usage: dict[str, Any] = {
        "total_usage": stats.cpu_total,
        "usage_in_kernelmode": stats.cpu_system,
        "usage_in_usermode": stats.cpu_user,
    }
    if stats.cpu_per_cpu:
        usage["percpu_usage"] = list(stats.cpu_per_cpu)
    return {
        "cpu_usage": usage,
        "system_cpu_usage": reading.system_ns,
        "online_cpus": os.cpu_count() or 1,
        "throttling_data": _throttling(
            stats.cpu_periods, stats.cpu_throttled_periods, stats.cpu_throttled_time
        ),
    }


def _no_cpu() -> dict[str, Any]:
    usage = {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0}
    return {"cpu_usage": usage, "throttling_data": _throttling(0, 0, 0)}


def _throttling(periods: int, throttled: int, time: int) -> dict[str, int]:
    return {"periods": periods, "throttled_periods": throttled, "throttled_time": time}


def _memory(stats: RuntimeStats) -> dict[str, Any]:
    document = _present(
        usage=stats.memory_usage, max_usage=stats.memory_max_usage, failcnt=stats.memory_failures
    )
    return {**document, "stats": dict(stats.memory_detail), "limit": stats.memory_limit or _machine_memory()}


def _machine_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _block_io(devices: tuple[BlockIo, ...], empty: list[Any] | None) -> dict[str, Any]:
    """`empty` stands for what there is none of: dockerd has a list on cgroup v1 (which also counts by processor), null on v2."""

    def entries(*pairs: tuple[BlockIo, str, int]) -> list[dict[str, Any]]:
        return [{"major": d.major, "minor": d.minor, "op": op, "value": value} for d, op, value in pairs]

    size = [pair for d in devices for pair in ((d, "read", d.read_bytes), (d, "write", d.written_bytes))]
    count = [pair for d in devices for pair in ((d, "read", d.reads), (d, "write", d.writes))]
    unknown = ("queue", "service_time", "wait_time", "merged")
    return {
        "io_service_bytes_recursive": entries(*size) or empty,
        "io_serviced_recursive": entries(*count) or empty,
        **{f"io_{name}_recursive": empty for name in unknown},
        "io_time_recursive": empty,
        "sectors_recursive": empty,
    }


def _interface(one: InterfaceUse) -> dict[str, int]:
    return {
        "rx_bytes": one.received_bytes,
        "rx_packets": one.received_packets,
        "rx_errors": one.received_errors,
        "rx_dropped": one.received_dropped,
        "tx_bytes": one.sent_bytes,
        "tx_packets": one.sent_packets,
        "tx_errors": one.sent_errors,
        "tx_dropped": one.sent_dropped,
    }


def _present(**values: int) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
