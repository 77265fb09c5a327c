"""Limits of a container: what cannot be meant, and what this kernel cannot do."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from barque.spi.container import ContainerConfig, Resources, Ulimit
from barque.spi.errors import InvalidArgument

__all__ = ["check_limits", "check_ulimits", "fitted"]

_CGROUPS = Path("/sys/fs/cgroup")
_MINIMUM_MEMORY = 6 << 20
_NO_LIMITS = Resources()
_RLIMITS = frozenset(
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
_UNLIMITED_OOM = (
    "OOM killer is disabled for the container, but no memory limit is set, "
    "this can result in the system running out of resources."
)


def check_limits(limits: Resources) -> None:
    """Raise InvalidArgument, in Docker's words, for the first thing that is wrong. For creates and updates."""
    if limits is _NO_LIMITS or limits == _NO_LIMITS:
        return
    _check_memory(limits)
    _check_cpu(limits)
    _check_sets(limits)
    _check_block_io(limits)


def _check_memory(limits: Resources) -> None:
    if 0 < limits.memory < _MINIMUM_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if limits.memory < 0:
        raise InvalidArgument("Memory limit must not be negative")
    if limits.memory_swap > 0 and not limits.memory:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < limits.memory_swap < limits.memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if 0 < limits.memory_reservation < _MINIMUM_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if limits.memory and limits.memory_reservation > limits.memory:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    if not -1 <= limits.memory_swappiness <= 100:
        raise InvalidArgument(
            f"Invalid value: {limits.memory_swappiness}, valid memory swappiness range is 0-100"
        )


def _check_cpu(limits: Resources) -> None:
    cpus = os.cpu_count() or 1
    if limits.nano_cpus and limits.cpu_period:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if limits.nano_cpus and limits.cpu_quota:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if not 0 <= limits.nano_cpus <= cpus * 1_000_000_000:
        raise InvalidArgument(
            f"range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )
    if limits.cpu_period and not 1000 <= limits.cpu_period <= 1_000_000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < limits.cpu_quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    period, runtime = limits.cpu_realtime_period, limits.cpu_realtime_runtime
    if (period or runtime) and not _exists("cpu", "cpu.rt_runtime_us"):
        raise InvalidArgument("kernel does not support CPU real-time scheduler")
    if period and runtime > period:
        raise InvalidArgument("cpu real-time runtime cannot be higher than cpu real-time period")


def _check_sets(limits: Resources) -> None:
    for wanted, what, things, online in (
        (limits.cpuset_cpus, "cpuset cpus", "CPUs", "cpu/online"),
        (limits.cpuset_mems, "cpuset mems", "memory nodes", "node/online"),
    ):
        if not wanted:
            continue
        try:
            numbers = _numbers(wanted)
        except ValueError:
            raise InvalidArgument(f"Invalid value {wanted} for {what}: invalid format: {wanted}") from None
        available = _online(online)
        if not numbers <= _numbers(available):
            raise InvalidArgument(
                f"Requested {things} are not available - requested {wanted}, available: {available}"
            )


def _online(name: str) -> str:
    try:
        return Path("/sys/devices/system", name).read_text().strip()
    except OSError:  # a kernel without NUMA has one node and no list of them
        return "0"


def _numbers(text: str) -> set[int]:
    """`0-2,5` as a set (cpuset(7), List format). Raises ValueError."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = int(first), int(last if dash else first)
        if not 0 <= begin <= end < 8192:
            raise ValueError(part)
        found.update(range(begin, end + 1))
    return found


def _check_block_io(limits: Resources) -> None:
    weights = [limits.blkio_weight, *(device.rate for device in limits.blkio_weight_device)]
    if any(weight and not 10 <= weight <= 1000 for weight in weights):
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")


def check_ulimits(ulimits: Iterable[Ulimit]) -> None:
    """Errors: InvalidArgument."""
    for ulimit in ulimits:
        if ulimit.name not in _RLIMITS:
            raise InvalidArgument(f"invalid ulimit type: {ulimit.name}")
        if min(ulimit.soft, ulimit.hard) < -1:
            raise InvalidArgument(f"invalid ulimit {ulimit.name}: a limit is a number, or -1 for none")
        if ulimit.hard != -1 and (ulimit.soft == -1 or ulimit.soft > ulimit.hard):
            raise InvalidArgument(
                f"ulimit soft limit must be less than or equal to hard limit: {ulimit.soft} > {ulimit.hard}"
            )


def fitted(config: ContainerConfig, cgroup_v2: bool) -> tuple[ContainerConfig, tuple[str, ...]]:
    """`config` without the limits that this kernel does not know, and for each of them Docker's warning."""
    limits, warnings = config.resources, list[str]()
    if limits == _NO_LIMITS:
        return config, ()
    changes: dict[str, object] = {}
    for name, empty, known, warning in _doubtful(limits, cgroup_v2):
        if getattr(limits, name) != empty and not known:
            changes[name] = empty
            warnings.append(warning)
    if changes:
        limits = replace(limits, **changes)  # type: ignore[arg-type]  # each value is its field's own default
    if limits.oom_kill_disable and not limits.memory:
        warnings.append(_UNLIMITED_OOM)
    return replace(config, resources=limits), tuple(warnings)


def _doubtful(limits: Resources, cgroup_v2: bool) -> Iterable[tuple[str, object, bool, str]]:
    """Field, its empty value, whether the kernel knows it, and what to say if not. A weight needs the scheduler of some disk."""
    if limits.memory_swappiness != -1:
        known = not cgroup_v2 and _exists("memory", "memory.swappiness")
        yield "memory_swappiness", -1, known, _lacking("memory swappiness capabilities", "Memory swappiness")
    if limits.oom_kill_disable:
        known = not cgroup_v2 and _exists("memory", "memory.oom_control")
        yield (
            "oom_kill_disable",
            False,
            known,
            "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
        )
    if limits.blkio_weight or limits.blkio_weight_device:
        known = cgroup_v2 or _weighs()
        yield "blkio_weight", 0, known, _lacking("Block I/O weight", "Weight")
        yield "blkio_weight_device", (), known, _lacking("Block I/O weight_device", "Weight-device")
    throttles = ("blkio_read_bps", "blkio_write_bps", "blkio_read_iops", "blkio_write_iops")
    if any(getattr(limits, name) for name in throttles):
        known = cgroup_v2 or _exists("blkio", "blkio.throttle.read_bps_device")
        for name in throttles:
            _, way, unit = name.split("_")
            what = f"BPS Block I/O {way} limit" if unit == "bps" else f"IOPS Block {way} limit"
            yield name, (), known, _lacking(what, f"Block I/O {unit.upper()} {way} limit")


def _lacking(what: str, thing: str) -> str:
    return f"Your kernel does not support {what} or the cgroup is not mounted. {thing} discarded."


def _exists(controller: str, name: str) -> bool:
    return (_CGROUPS / controller / name).exists()


def _weighs() -> bool:
    """The root of the hierarchy has no weight: any group below it tells."""
    names = ("blkio.bfq.weight", "blkio.weight")
    return any(_exists("blkio", name) or any((_CGROUPS / "blkio").glob(f"*/{name}")) for name in names)
