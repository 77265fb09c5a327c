"""`process.execCPUAffinity`: on which CPUs an exec runs before and after it enters the container's cgroup."""

from __future__ import annotations

import os

from barque.spi.errors import FailedPrecondition
from barque_runtime_native.process.number_list import MAX_NUMBER, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section


class CpuAffinity:
    """Two lists of CPUs; an empty one is not set. Not for a container's init (runtime-spec, config.md)."""

    __slots__ = ("final", "initial")

    def __init__(self, section: Section) -> None:
        self.initial = parse(section.text("initial"), section.path("initial"))
        self.final = parse(section.text("final"), section.path("final"))

    def set_initial(self) -> None:
        """For this process and what it clones; before the container's cgroup."""
        if self.initial:
            set_cpus(self.initial, "process.execCPUAffinity.initial")

    def set_final(self) -> None:
        """For this process, in the container's cgroup. Without a list: all CPUs the cgroup grants, not `initial`."""
        if self.final:
            set_cpus(self.final, "process.execCPUAffinity.final")
        elif self.initial:
            # the kernel takes from it what the cpuset has
            os.sched_setaffinity(0, range(MAX_NUMBER + 1))


def set_cpus(cpus: list[int], field: str) -> None:
    """Errors: FailedPrecondition that names the field when none of them is there, or granted."""
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise FailedPrecondition(
            f"{field}: no CPU of the list is available: {(error.strerror or '').lower()}"
        ) from error
