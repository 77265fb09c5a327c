"""`linux.resources` for cgroup v2: the fields are v1's, so most are converted (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_runtime_native.cgroup.setting import Setting
from barque_runtime_native.cgroup.settings import numbers, plan_common

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section

    Numbers = dict[str, tuple[int, str]]

ONLY_V1 = {
    "cpu.realtimePeriod": "it has no limits of real-time scheduling",
    "cpu.realtimeRuntime": "it has no limits of real-time scheduling",
    "memory.kernel": "kernel memory counts as memory.limit",
    "memory.kernelTCP": "socket buffers count as memory.limit",
    "memory.swappiness": "swappiness is the host's: vm.swappiness",
    "network.classID": "packets are matched by the cgroup's path, with nftables",
}
# Files with a line for each key, and how a key's line is taken back.
KEYED = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "io.latency": "target=0",
    "rdma.max": "hca_handle=max hca_object=max",
    "misc.max": "max",
    "dmem.max": "max",
}


def plan_v2(resources: Section) -> list[Setting]:
    """All settings but device rules. Errors: FailedPrecondition that names a field which v2 does not have."""
    found = numbers(resources)
    for name, reason in ONLY_V1.items():
        if name in found:
            raise absent(found[name][1], reason)
    memory, network = resources.section("memory"), resources.section("network")
    if memory.boolean("disableOOMKiller"):
        raise absent(memory.path("disableOOMKiller"), "the OOM killer cannot be turned off")
    if network.sections("priorities"):
        raise absent(network.path("priorities"), "priorities are set with nftables")
    if memory.boolean("useHierarchy"):
        raise absent(memory.path("useHierarchy"), "limits always hold for all that is below")
    settings = plan_cpu(found) + plan_memory(found) + plan_common(resources, unified=True)
    unified = resources.section("unified")
    return settings + [
        _unified(file, value, unified.path(file)) for file, value in resources.mapping("unified").items()
    ]


def absent(field: str, reason: str) -> FailedPrecondition:
    """The error for a field that only v1 has."""
    return FailedPrecondition(f"{field} does not exist on cgroup v2: {reason}", hint="remove it")


def plan_cpu(found: Numbers) -> list[Setting]:
    """cpu.weight, cpu.max, cpu.max.burst and cpu.idle."""
    settings = []
    if "cpu.shares" in found:
        shares, field = found["cpu.shares"]
        settings.append(Setting("cpu", "cpu.weight", weight_of(shares), field))
    quota, period = found.get("cpu.quota"), found.get("cpu.period")
    if quota and not period:
        # one number leaves the period as it is
        settings.append(Setting("cpu", "cpu.max", quota[0] if quota[0] > 0 else "max", quota[1]))
    elif period:
        runtime = quota[0] if quota and quota[0] > 0 else "max"
        settings.append(Setting("cpu", "cpu.max", f"{runtime} {period[0]}", (quota or period)[1]))
    for name, file in (("cpu.burst", "cpu.max.burst"), ("cpu.idle", "cpu.idle")):
        if name in found:
            settings.append(Setting("cpu", file, *found[name]))
    return settings


def weight_of(shares: int) -> int:
    """v1's shares, 2 to 262144, as v2's weight, 1 to 10000."""
    return 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142


def plan_memory(found: Numbers) -> list[Setting]:
    """memory.max, memory.swap.max (v1's limit of memory and swap, less the limit of memory) and memory.low."""
    settings = []
    limit, field = found.get("memory.limit", (0, ""))
    if field:
        settings.append(Setting("memory", "memory.max", maximum(limit), field))
    if "memory.swap" in found:
        swap, field = found["memory.swap"]
        if swap >= 0:
            if limit <= 0:
                raise InvalidArgument(f"{field}: unable to set swap limit without memory limit")
            if swap < limit:
                raise InvalidArgument(f"{field}: memory+swap limit should be >= memory limit")
            swap -= limit
        settings.append(Setting("memory", "memory.swap.max", maximum(swap), field))
    if "memory.reservation" in found:
        value, field = found["memory.reservation"]
        settings.append(Setting("memory", "memory.low", maximum(value), field))
    return settings


def maximum(value: int) -> int | str:
    """v2's word for no limit."""
    return "max" if value < 0 else value


def _unified(file: str, value: str, field: str) -> Setting:
    """`unified` names files itself; the part before the dot is the controller."""
    controller, dot, _ = file.partition(".")
    if "/" in file or not dot or not controller:
        raise InvalidArgument(f"{field}: {file!r} is not a file name of a controller, such as memory.high")
    words = value.split()
    key = words[0] if words else ""
    keyed = file in KEYED and key not in ("", "default") and len(words) > 1
    return Setting(controller, file, value, field, reset=f"{key} {KEYED[file]}" if keyed else "")
