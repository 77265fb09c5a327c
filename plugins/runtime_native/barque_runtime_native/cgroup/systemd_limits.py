"""Limits as properties of a systemd unit (systemd.resource-control(5)), from the writes that make them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from barque_runtime_native.cgroup.setting import Setting

    Property = tuple[str, tuple[str, Any]]

INFINITY = 2**64 - 1
SECOND = 1_000_000
# systemd keeps a quota as whole percents of a second
STEP = SECOND // 100
PERIOD = 100_000
NUMBERS = {
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.limit_in_bytes": "MemoryLimit",
    "cpu.weight": "CPUWeight",
    "cpu.shares": "CPUShares",
    "pids.max": "TasksMax",
}
# systemd sets processors and memory nodes on v2 only
SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


def properties_of(settings: list[Setting]) -> list[Property]:
    """The properties that say what the settings write; what systemd has no property for, it leaves alone."""
    values = {setting.file: setting.value for setting in settings}
    properties: list[Property] = []
    for file, name in NUMBERS.items():
        value = values.get(file, "")
        if value in ("max", "-1"):
            properties.append((name, ("t", INFINITY)))
        elif value.isascii() and value.isdigit():
            properties.append((name, ("t", int(value))))
    properties += _quota(values)
    if not any(file.endswith(("_in_bytes", ".shares")) or file.startswith("cpu.cfs") for file in values):
        properties += [(name, ("ay", bits(values[file]))) for file, name in SETS.items() if values.get(file)]
    return properties


def _quota(values: dict[str, str]) -> list[Property]:
    if "cpu.max" in values:
        quota, _, period = values["cpu.max"].partition(" ")
    else:
        quota, period = values.get("cpu.cfs_quota_us", ""), values.get("cpu.cfs_period_us", "")
    properties: list[Property] = []
    if period:
        properties.append(("CPUQuotaPeriodUSec", ("t", int(period))))
    if quota in ("max", "-1"):
        properties.append(("CPUQuotaPerSecUSec", ("t", INFINITY)))
    elif quota:
        share = int(quota) * SECOND // int(period or PERIOD)
        properties.append(("CPUQuotaPerSecUSec", ("t", -(-share // STEP) * STEP)))
    return properties


def bits(ranges: str) -> list[int]:
    """`0-2,9` as a bit mask, least byte first."""
    mask = 0
    for part in ranges.split(","):
        first, _, last = part.strip().partition("-")
        for number in range(int(first), min(int(last or first), 1 << 16) + 1):
            mask |= 1 << number
    return list(mask.to_bytes((mask.bit_length() + 7) // 8, "little"))
