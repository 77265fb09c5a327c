"""`process.scheduler` and `process.ioPriority` (sched_setattr(2), ioprio_set(2))."""

from __future__ import annotations

from struct import pack

from barque.spi.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.spec import MAX_UINT64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from barque.spi.errors import BarqueError
    from barque_runtime_native.spec import Section

IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
ISO = 4  # reserved by the kernel headers, implemented by no kernel
SCHEDULERS = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": ISO, "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}  # fmt: skip
REAL_TIME = ("SCHED_FIFO", "SCHED_RR")
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 1, "SCHED_FLAG_RECLAIM": 2, "SCHED_FLAG_DL_OVERRUN": 4, "SCHED_FLAG_KEEP_POLICY": 8,
    "SCHED_FLAG_KEEP_PARAMS": 16, "SCHED_FLAG_UTIL_CLAMP_MIN": 32, "SCHED_FLAG_UTIL_CLAMP_MAX": 64,
}  # fmt: skip
SIZE = 56  # of `struct sched_attr` with the two utilisation clamps


class Scheduling:
    """Both, ready for the kernel."""

    __slots__ = ("attributes", "io_priority", "policy")

    def __init__(self, process: Section) -> None:
        self.policy = process.section("scheduler").text("policy")
        self.attributes = read_scheduler(process.section("scheduler"))
        self.io_priority = read_io_priority(process.section("ioPriority"))

    @property
    def forgotten_on_fork(self) -> bool:
        """Whether children start with other values: the flag says so, and a deadline is never inherited."""
        return (
            bool(self.attributes and self.attributes[8] & FLAGS["SCHED_FLAG_RESET_ON_FORK"])
            or self.policy == "SCHED_DEADLINE"
        )

    def apply(self) -> None:
        """For this process and what it becomes. Errors: PermissionDenied or FailedPrecondition that name the field."""
        if self.attributes:
            attempt(lambda: syscalls.sched_setattr(self.attributes), f"process.scheduler: {self.policy}")
        if self.io_priority is not None:
            value = self.io_priority
            attempt(lambda: syscalls.ioprio_set(value), "process.ioPriority")


def attempt(change: Callable[[], None], what: str) -> None:
    """Make the call; what the kernel says against it becomes an error about `what`."""
    try:
        change()
    except OSError as error:
        kind: type[BarqueError] = FailedPrecondition
        hint = "does this kernel have the policy, and room for it?"
        if isinstance(error, PermissionError):
            kind, hint = PermissionDenied, "raising a priority needs CAP_SYS_NICE"
        raise kind(f"{what}: the kernel refused it: {(error.strerror or '').lower()}", hint=hint) from error


def read_io_priority(section: Section) -> int | None:
    """The value ioprio_set(2) takes: class in the bits from 13 up, level 0 to 7 below."""
    io_class = section.choice("class", IO_CLASSES)
    level = section.integer("priority", 0, 7)
    if io_class is None:
        if section.values:
            raise InvalidArgument(f"{section.path('class')} is missing")
        return None
    return io_class << 13 | (level or 0)


def read_scheduler(section: Section) -> bytes:
    """A packed `struct sched_attr`, or empty."""
    policy = section.choice("policy", SCHEDULERS)
    if policy is None:
        if section.values:
            raise InvalidArgument(f"{section.path('policy')} is missing")
        return b""
    name = section.text("policy")
    if policy == ISO:
        raise InvalidArgument(f"{section.path('policy')}: no Linux kernel implements {name}")
    nice, priority = section.integer("nice", -20, 19) or 0, section.integer("priority", 0, 99) or 0
    times = [section.integer(key, 0, MAX_UINT64) or 0 for key in ("runtime", "deadline", "period")]
    if priority and name not in REAL_TIME:
        raise InvalidArgument(
            f"{section.path('priority')} is only for SCHED_FIFO and SCHED_RR, not for {name}"
        )
    if name in REAL_TIME and not priority:
        raise InvalidArgument(f"{section.path('priority')} from 1 to 99 is needed for {name}")
    if any(times) and name != "SCHED_DEADLINE":
        raise InvalidArgument(f"{section.path('runtime')}, deadline and period are only for SCHED_DEADLINE")
    return pack("=IIQiI3QII", SIZE, policy, read_flags(section), nice, priority, *times, 0, 0)


def read_flags(section: Section) -> int:
    """`flags` as bits."""
    flags = 0
    for word in section.texts("flags"):
        if word not in FLAGS:
            raise InvalidArgument(
                f"{section.path('flags')}: unknown flag {word!r}", hint="known: " + ", ".join(FLAGS)
            )
        flags |= FLAGS[word]
    return flags
