"""The flags that limit what a container may use: of `run` and `create`, and in part of `update`."""

from __future__ import annotations

from barque.cli.flags import Option, number, repeated, text
from barque.cli.units import cpus, memory, memory_or_unlimited

__all__ = ["LIVE_RESOURCE_OPTIONS", "RESOURCE_NUMBERS", "RESOURCE_OPTIONS", "RESOURCE_TEXTS", "RESTART"]

RESTART = text("restart", "Restart policy to apply when a container exits", default="no")

# What `update` can change too.
LIVE_RESOURCE_OPTIONS: tuple[Option, ...] = (
    number("memory", "Memory limit", short="m", metavar="bytes", check=memory),
    number(
        "memory-swap",
        "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
        metavar="bytes",
        check=memory_or_unlimited,
    ),
    number("memory-reservation", "Memory soft limit", metavar="bytes", check=memory),
    number("cpus", "Number of CPUs", metavar="decimal", check=cpus),
    number("cpu-shares", "CPU shares (relative weight)", short="c"),
    number("cpu-period", "Limit CPU CFS (Completely Fair Scheduler) period"),
    number("cpu-quota", "Limit CPU CFS (Completely Fair Scheduler) quota"),
    number("cpu-rt-period", "Limit CPU real-time period in microseconds"),
    number("cpu-rt-runtime", "Limit CPU real-time runtime in microseconds"),
    text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
    text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
    number("blkio-weight", "Block IO (relative weight), between 10 and 1000, or 0 to disable"),
    number("pids-limit", "Tune container pids limit (set -1 for unlimited)"),
)

RESOURCE_OPTIONS: tuple[Option, ...] = (
    *LIVE_RESOURCE_OPTIONS,
    number("memory-swappiness", "Tune container memory swappiness (0 to 100)", default=-1),
    number("kernel-memory", "Kernel memory limit (no kernel has it any more: without effect)", metavar="bytes", check=memory),
    repeated("blkio-weight-device", "Block IO weight (relative device weight)"),
    repeated("device-read-bps", "Limit read rate (bytes per second) from a device"),
    repeated("device-read-iops", "Limit read rate (IO per second) from a device"),
    repeated("device-write-bps", "Limit write rate (bytes per second) to a device"),
    repeated("device-write-iops", "Limit write rate (IO per second) to a device"),
    number("cpu-count", "CPU count (Windows only)"),
    number("cpu-percent", "CPU percent (Windows only)"),
    number("io-maxbandwidth", "Maximum IO bandwidth limit for the system drive (Windows only)", metavar="bytes", check=memory),
    number("io-maxiops", "Maximum IOps limit for the system drive (Windows only)"),
)  # fmt: skip

# The API's fields and the flags that set them.
RESOURCE_NUMBERS = {
    "Memory": "memory",
    "MemorySwap": "memory-swap",
    "MemoryReservation": "memory-reservation",
    "NanoCpus": "cpus",
    "CpuShares": "cpu-shares",
    "CpuPeriod": "cpu-period",
    "CpuQuota": "cpu-quota",
    "CpuRealtimePeriod": "cpu-rt-period",
    "CpuRealtimeRuntime": "cpu-rt-runtime",
    "BlkioWeight": "blkio-weight",
    "PidsLimit": "pids-limit",
    "MemorySwappiness": "memory-swappiness",
}
RESOURCE_TEXTS = {"CpusetCpus": "cpuset-cpus", "CpusetMems": "cpuset-mems"}
