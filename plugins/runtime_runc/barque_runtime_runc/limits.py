"""What `update` of the runtimes leaves to be done: check the document, and put the old limits back when it fails half-way.

runc and crun write one cgroup file after the other; the first that the kernel refuses ends it, and what was written stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_runtime_runc.cgroups import ContainerCgroups, read_file

__all__ = ["checked", "old_ones_back_on_error"]

_CPU_TIME = dict.fromkeys("shares quota period realtimeRuntime realtimePeriod".split(), int)
_FIELDS: Mapping[str, Mapping[str, type]] = {
    "memory": {
        **dict.fromkeys(("limit", "reservation", "swap", "kernel", "kernelTCP"), int),
        "checkBeforeUpdate": bool,
    },
    "cpu": {**_CPU_TIME, "cpus": str, "mems": str},
    "pids": {"limit": int},
    "blockIO": {"weight": int},
}
_CPUSET = ("cpus", "mems")
_CONTROLLERS = {"memory": ("memory",), "cpu": ("cpu",), "pids": ("pids",), "blockIO": ("blkio", "io")}

# The files that these fields end in, on v1 and on v2; a failed write is told by the name of its file.
_FILES = {
    "memory.limit_in_bytes": "memory.limit",
    "memory.memsw.limit_in_bytes": "memory.swap",
    "memory.soft_limit_in_bytes": "memory.reservation",
    "memory.kmem.limit_in_bytes": "memory.kernel",
    "memory.kmem.tcp.limit_in_bytes": "memory.kernelTCP",
    "memory.max": "memory.limit",
    "memory.swap.max": "memory.swap",
    "memory.low": "memory.reservation",
    "cpu.cfs_period_us": "cpu.period",
    "cpu.cfs_quota_us": "cpu.quota",
    "cpu.rt_period_us": "cpu.realtimePeriod",
    "cpu.rt_runtime_us": "cpu.realtimeRuntime",
    "cpu.shares": "cpu.shares",
    "cpu.max": "cpu.quota",
    "cpu.weight": "cpu.shares",
    "cpuset.cpus": "cpu.cpus",
    "cpuset.mems": "cpu.mems",
    "pids.max": "pids.limit",
    "blkio.weight": "blockIO.weight",
    "blkio.bfq.weight": "blockIO.weight",
    "io.weight": "blockIO.weight",
    "io.bfq.weight": "blockIO.weight",
}
_ROUNDS = 3  # a limit may have to wait for another: memory.limit is never above memsw.limit


def checked(resources: Mapping[str, Any], cgroups: ContainerCgroups) -> dict[str, Any]:
    """`resources` without device rules, when it says only what `update` can change and the host can do.

    Errors: InvalidArgument, FailedPrecondition (no such controller).
    """
    wanted = {section: value for section, value in resources.items() if section != "devices" and value}
    for section, value in wanted.items():
        field = f"linux.resources.{section}"
        if section == "unified":
            _check_unified(field, value, cgroups)
        elif section not in _FIELDS:
            raise InvalidArgument(f"{field}: runc and crun do not change it in a container that exists")
        else:
            _check_section(field, value, _FIELDS[section])
            _check_controllers(section, value, cgroups)
    return wanted


def _check_section(field: str, value: Any, known: Mapping[str, type]) -> None:
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{field}: must be an object")
    for name, number in value.items():
        if name not in known:
            raise InvalidArgument(
                f"{field}.{name}: runc and crun do not change it in a container that exists"
            )
        if not isinstance(number, known[name]) or (known[name] is int and isinstance(number, bool)):
            raise InvalidArgument(f"{field}.{name}: must be of type {known[name].__name__}, is {number!r}")


def _check_controllers(section: str, value: Mapping[str, Any], cgroups: ContainerCgroups) -> None:
    needed = {("cpuset",) if name in _CPUSET else _CONTROLLERS[section] for name in value}
    for names in needed:
        if not any(cgroups.controller(name) for name in names):
            raise FailedPrecondition(
                f"linux.resources.{section}: the container's cgroup has no controller {names[0]}",
                hint="mount its hierarchy, or enable it in cgroup.subtree_control",
            )


def _check_unified(field: str, value: Any, cgroups: ContainerCgroups) -> None:
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{field}: must be an object")
    if not cgroups.v2:
        raise FailedPrecondition(f"{field}: needs cgroup v2", hint="use the other fields of linux.resources")
    for name, text in value.items():
        if "/" in name or not isinstance(text, str):
            raise InvalidArgument(f"{field}.{name}: must be the name of a cgroup file, with a string")
        if not os.path.exists(f"{cgroups.v2}/{name}"):
            raise FailedPrecondition(f"{field}.{name}: the container's cgroup has no such file")


@contextmanager
def old_ones_back_on_error(cgroups: ContainerCgroups, unified: Mapping[str, Any]) -> Iterator[None]:
    """Whatever the block raises, the limits are then as before it. `unified`: further v2 files that it changes."""
    old = _snapshot(cgroups, tuple(unified))
    try:
        yield
    except BaseException as error:
        _put_back(old)
        if isinstance(error, InvalidArgument):
            raise _with_field(error) from error
        raise


def _put_back(old: Mapping[str, str]) -> None:
    for _ in range(_ROUNDS):
        for path, value in old.items():
            if read_file(path) != value:
                with suppress(OSError):  # the next round tries again
                    _write(path, value)


def _with_field(error: InvalidArgument) -> InvalidArgument:
    """The error of a runtime that could not write a file, with the field that was to be written there."""
    for name in sorted(_FILES, key=len, reverse=True):
        if name in error.message:
            return InvalidArgument(f"linux.resources.{_FILES[name]}: {error.message}", hint=error.hint)
    return error


def _snapshot(cgroups: ContainerCgroups, further: tuple[str, ...]) -> dict[str, str]:
    paths = [f"{directory}/{name}" for directory in cgroups.directories() for name in (*_FILES, *further)]
    return {path: read_file(path) for path in paths if os.path.exists(path)}


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.write(fd, value.encode() or b"\n")
    finally:
        os.close(fd)
