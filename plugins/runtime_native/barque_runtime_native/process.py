"""The `process` object of a configuration: read and checked before anything runs, applied in the child."""

from __future__ import annotations

import os
from struct import pack

from barque.spi.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from barque_runtime_native import syscalls
from barque_runtime_native.capabilities import SYS_ADMIN, CapabilitySets
from barque_runtime_native.spec import MAX_UINT32, MAX_UINT64, Section

# getrlimit(2); asm-generic/resource.h
RLIMITS = {
    f"RLIMIT_{name}": number
    for number, name in enumerate(
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
    )
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
SCHEDULERS = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}  # fmt: skip
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 1, "SCHED_FLAG_RECLAIM": 2, "SCHED_FLAG_DL_OVERRUN": 4, "SCHED_FLAG_KEEP_POLICY": 8,
    "SCHED_FLAG_KEEP_PARAMS": 16, "SCHED_FLAG_UTIL_CLAMP_MIN": 32, "SCHED_FLAG_UTIL_CLAMP_MAX": 64,
}  # fmt: skip
MAX_GROUPS = 65536


class Process:
    """Everything the program will be started with. All checks of values happen here."""

    def __init__(self, section: Section) -> None:
        user = section.section("user")
        size = section.section("consoleSize")
        self.args = section.texts("args")
        self.cwd = section.required("cwd")
        self.env = section.texts("env")
        self.terminal = section.boolean("terminal")
        self.height = size.integer("height", 0, 0xFFFF) or 0
        self.width = size.integer("width", 0, 0xFFFF) or 0
        # 2**32-1 is "leave unchanged" to setresuid(2): root would stay root
        self.uid = user.integer("uid", 0, MAX_UINT32 - 1) or 0
        self.gid = user.integer("gid", 0, MAX_UINT32 - 1) or 0
        self.groups = user.integers("additionalGids", 0, MAX_UINT32 - 1)
        umask = user.integer("umask", 0, MAX_UINT32)
        self.umask = 0o022 if umask is None else umask & 0o777
        self.capabilities = CapabilitySets(section.section("capabilities"))
        if not section.has("capabilities"):
            self.capabilities.grant_all(self.uid)
        self.no_new_privileges = section.boolean("noNewPrivileges")
        self.oom_score_adj = section.integer("oomScoreAdj", -1000, 1000)
        self.apparmor = section.text("apparmorProfile")
        self.selinux = section.text("selinuxLabel")
        self.rlimits = read_rlimits(section)
        self.io_priority = read_io_priority(section.section("ioPriority"))
        self.scheduler = read_scheduler(section.section("scheduler"))
        if not self.args or not self.args[0]:
            raise InvalidArgument(f"{section.path('args')} must not be empty")
        if not self.cwd.startswith("/"):
            raise InvalidArgument(f"{section.path('cwd')} is not an absolute path: {self.cwd!r}")
        if len(self.groups) > MAX_GROUPS:
            raise InvalidArgument(f"{section.path('user.additionalGids')} has more than {MAX_GROUPS} members")
        for entry in self.env:
            if "=" not in entry or entry.startswith("="):
                raise InvalidArgument(f"{section.path('env')}: {entry!r} is not NAME=VALUE")

    def environment(self) -> dict[str, str]:
        """The variables; the last of a name wins, as in a shell."""
        return dict(entry.split("=", 1) for entry in self.env)

    def set_limits(self, pid: int = 0) -> None:
        """Set the resource limits of `pid` (0: this process). Errors: PermissionDenied that names the limit."""
        for name, soft, hard in self.rlimits:
            try:
                syscalls.prlimit64(pid, RLIMITS[name], soft, hard)
            except PermissionError as error:
                raise PermissionDenied(
                    f"process.rlimits: cannot raise the hard limit of {name} to {hard}",
                    hint="the runtime lacks CAP_SYS_RESOURCE; ask for no more than its own hard limit",
                ) from error

    def set_scheduling(self) -> None:
        """Set scheduler and input/output priority of this process; raising either needs CAP_SYS_NICE."""
        if self.scheduler:
            syscalls.sched_setattr(self.scheduler)
        if self.io_priority is not None:
            syscalls.ioprio_set(self.io_priority)

    def become(self, bounding: int, permitted: int) -> None:
        """Take the groups, the user and the capabilities; CAP_SYS_ADMIN stays, for seccomp(2), until `drop_admin`.

        `bounding` and `permitted` are this process's own sets.
        """
        self.capabilities.limit_to(bounding & permitted)
        self.capabilities.drop_bounding(bounding)
        syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
        try:
            syscalls.setgroups(self.groups)
        except PermissionError:
            # a user namespace whose gid map was written without privilege denies setgroups (user_namespaces(7))
            if self.groups:
                raise
        syscalls.setresgid(self.gid)
        syscalls.setresuid(self.uid)
        syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 0)
        self.capabilities.apply(keep=permitted & (1 << SYS_ADMIN))

    def drop_admin(self) -> None:
        """Leave exactly the capability sets of the configuration."""
        self.capabilities.apply()


def read_rlimits(section: Section) -> list[tuple[str, int, int]]:
    """(name, soft, hard) of `rlimits`."""
    found: dict[str, tuple[str, int, int]] = {}
    for item in section.sections("rlimits"):
        name = item.text("type")
        soft, hard = item.integer("soft"), item.integer("hard")
        if name not in RLIMITS:
            raise InvalidArgument(f"{item.path('type')}: unknown resource limit {name!r}")
        if name in found:
            raise InvalidArgument(f"{item.path('type')}: {name} is given twice")
        if soft is None or hard is None or soft > hard:
            raise InvalidArgument(f"{item.name}: {name} needs a soft limit that is not above its hard limit")
        found[name] = (name, soft, hard)
    return list(found.values())


def read_io_priority(section: Section) -> int | None:
    """The value ioprio_set(2) takes: class in the bits from 13 up, level 0 to 7 below."""
    io_class = section.choice("class", IO_CLASSES)
    level = section.integer("priority", 0, 7)
    if io_class is None:
        if level is not None:
            raise InvalidArgument(f"{section.path('class')} is missing")
        return None
    return io_class << 13 | (level or 0)


def read_scheduler(section: Section) -> bytes:
    """A packed `struct sched_attr` (sched_setattr(2)), or empty."""
    policy = section.choice("policy", SCHEDULERS)
    if policy is None:
        if section.values:
            raise InvalidArgument(f"{section.path('policy')} is missing")
        return b""
    flags = 0
    for word in section.texts("flags"):
        if word not in SCHEDULER_FLAGS:
            raise InvalidArgument(f"{section.path('flags')}: unknown flag {word!r}")
        flags |= SCHEDULER_FLAGS[word]
    return pack(
        "=IIQiI3Q", 48, policy, flags,
        section.integer("nice", -20, 19) or 0,
        section.integer("priority", 0, 99) or 0,
        *(section.integer(key, 0, MAX_UINT64) or 0 for key in ("runtime", "deadline", "period")),
    )  # fmt: skip


def set_oom_score(procfs: int, wanted: int | None) -> None:
    """Write this process's OOM score adjustment. Errors: PermissionDenied when lowering it needs CAP_SYS_RESOURCE."""
    if wanted is None:
        return
    fd = os.open("self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC, dir_fd=procfs)
    try:
        if int(os.read(fd, 16)) == wanted:
            return
        os.pwrite(fd, str(wanted).encode(), 0)
    except PermissionError as error:
        raise PermissionDenied(
            f"process.oomScoreAdj: cannot lower the OOM score to {wanted}",
            hint="the runtime lacks CAP_SYS_RESOURCE; ask for no less than its own score",
        ) from error
    finally:
        os.close(fd)


def open_label(procfs: int, process: Process) -> tuple[int, bytes] | None:
    """The attribute file and value that set the program's security label at execve, opened while /proc is the host's.

    Errors: FailedPrecondition that names the field when the kernel module is not there.
    """
    for module, field, label in (
        ("apparmor", "apparmorProfile", process.apparmor),
        ("selinux", "selinuxLabel", process.selinux),
    ):
        if not label or (module == "apparmor" and label == "unconfined" and not label_module(module)):
            continue
        if not label_module(module):
            raise FailedPrecondition(
                f"process.{field} is set but {module} is not enabled",
                hint=f"enable {module} or unset the field",
            )
        path, value = (
            ("self/attr/apparmor/exec", f"exec {label}")
            if module == "apparmor"
            else ("self/attr/exec", label)
        )
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=procfs), os.fsencode(value)
    return None


def label_module(module: str) -> bool:
    """Whether the security module is at work."""
    return os.path.exists(
        {"apparmor": "/sys/kernel/security/apparmor/profiles", "selinux": "/sys/fs/selinux/enforce"}[module]
    )
