"""`linux.resources`: a container's limits."""

from __future__ import annotations

import os
from typing import Any

from barque.spi.container import DeviceRate, Resources
from barque.spi.errors import InvalidArgument

__all__ = ["resource_limits"]


def resource_limits(limits: Resources) -> dict[str, Any]:
    """`linux.resources` with what is limited. Errors: InvalidArgument for a device that is not there."""
    resources: dict[str, Any] = {}
    memory = _present(limit=limits.memory, reservation=limits.memory_reservation, swap=_swap(limits))
    if limits.memory_swappiness >= 0:
        memory["swappiness"] = limits.memory_swappiness
    if limits.oom_kill_disable:
        memory["disableOOMKiller"] = True
    quota, period = limits.cpu_quota, limits.cpu_period
    if limits.nano_cpus:
        period = 100_000
        quota = limits.nano_cpus * period // 1_000_000_000
    cpu = _present(
        shares=limits.cpu_shares,
        quota=quota,
        period=period,
        realtimePeriod=limits.cpu_realtime_period,
        realtimeRuntime=limits.cpu_realtime_runtime,
        cpus=limits.cpuset_cpus,
        mems=limits.cpuset_mems,
    )
    block_io = _block_io(limits)
    if memory:
        resources["memory"] = memory
    if cpu:
        resources["cpu"] = cpu
    if limits.pids_limit:
        resources["pids"] = {"limit": limits.pids_limit}
    if block_io:
        resources["blockIO"] = block_io
    return resources


def _block_io(limits: Resources) -> dict[str, Any]:
    lists = {
        "weightDevice": _rates(limits.blkio_weight_device, "weight"),
        "throttleReadBpsDevice": _rates(limits.blkio_read_bps, "rate"),
        "throttleWriteBpsDevice": _rates(limits.blkio_write_bps, "rate"),
        "throttleReadIOPSDevice": _rates(limits.blkio_read_iops, "rate"),
        "throttleWriteIOPSDevice": _rates(limits.blkio_write_iops, "rate"),
    }
    block_io: dict[str, Any] = {"weight": limits.blkio_weight} if limits.blkio_weight else {}
    return {**block_io, **{name: found for name, found in lists.items() if found}}


def _rates(devices: tuple[DeviceRate, ...], what: str) -> list[dict[str, int]]:
    return [{**_numbers(device.path), what: device.rate} for device in devices]


def _numbers(path: str) -> dict[str, int]:
    try:
        device = os.stat(path).st_rdev
    except OSError as error:
        raise InvalidArgument(f"stat {path}: {str(error.strerror).lower()}") from error
    return {"major": os.major(device), "minor": os.minor(device)}


def _swap(limits: Resources) -> int:
    """Docker's rule: a memory limit alone allows as much swap again."""
    if limits.memory_swap:
        return limits.memory_swap
    return limits.memory * 2 if limits.memory else 0


def _present(**values: int | str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
