"""The `process` object of a configuration: read and checked before anything runs, applied in the child."""

from __future__ import annotations

import os

from barque.spi.errors import InvalidArgument, PermissionDenied
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.kernel.kernel_files import open_kernel_file
from barque_runtime_native.process.capabilities import SYS_ADMIN, CapabilitySets
from barque_runtime_native.spec import MAX_UINT32, Section

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.process.cpu_affinity import CpuAffinity
    from barque_runtime_native.process.memory_policy import MemoryPolicy
    from barque_runtime_native.process.scheduling import Scheduling
    from barque_runtime_native.process.security_label import SecurityLabel

# getrlimit(2); asm-generic/resource.h
RLIMITS = {
    f"RLIMIT_{name}": number
    for number, name in enumerate(
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
    )
}
# include/uapi/linux/personality.h
PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}
MAX_GROUPS = 65536


class Process:
    """Everything the program will be started with. All checks of values happen here."""

    def __init__(self, section: Section) -> None:
        user = section.section("user")
        self.args = section.texts("args")
        self.cwd = section.required("cwd")
        self.env = section.texts("env")
        self.terminal = section.boolean("terminal")
        # without a terminal the specification wants it ignored
        size = section.section("consoleSize") if self.terminal else Section({})
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
        self.rlimits = read_rlimits(section)
        self.personality: int | None = None
        self.memory_policy: MemoryPolicy | None = None
        self._read_rare(section)
        if not self.args or not self.args[0]:
            raise InvalidArgument(f"{section.path('args')} must not be empty")
        if not self.cwd.startswith("/"):
            raise InvalidArgument(f"{section.path('cwd')} is not an absolute path: {self.cwd!r}")
        if len(self.groups) > MAX_GROUPS:
            raise InvalidArgument(f"{section.path('user.additionalGids')} has more than {MAX_GROUPS} members")
        for entry in self.env:
            if "=" not in entry or entry.startswith("="):
                raise InvalidArgument(f"{section.path('env')}: {entry!r} is not NAME=VALUE")

    def _read_rare(self, section: Section) -> None:
        """What few containers have: each of the modules is imported for those who need it."""
        self.label: SecurityLabel | None = None
        self.scheduling: Scheduling | None = None
        self.exec_affinity: CpuAffinity | None = None
        if section.has("apparmorProfile") or section.has("selinuxLabel"):
            from barque_runtime_native.process.security_label import read_label

            self.label = read_label(section)
        if section.has("scheduler") or section.has("ioPriority"):
            from barque_runtime_native.process.scheduling import Scheduling

            self.scheduling = Scheduling(section)
        if section.has("execCPUAffinity"):
            from barque_runtime_native.process.cpu_affinity import CpuAffinity

            self.exec_affinity = CpuAffinity(section.section("execCPUAffinity"))

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

    def take_domain(self, linux: Section) -> None:
        """What `linux` says about each process of the container: personality and memory policy."""
        self.personality = read_personality(linux.section("personality"))
        if linux.section("memoryPolicy").values:
            # Imported for those who need it.
            from barque_runtime_native.process.memory_policy import MemoryPolicy

            self.memory_policy = MemoryPolicy(linux.section("memoryPolicy"))

    @property
    def forgets_on_fork(self) -> bool:
        """Whether a child of this process would not have the scheduling that was set."""
        return bool(self.scheduling and self.scheduling.forgotten_on_fork)

    def set_scheduling(self) -> None:
        """Set scheduler, input/output priority, personality and memory policy of this process."""
        if self.scheduling:
            self.scheduling.apply()
        if self.personality is not None:
            syscalls.personality(self.personality)
        if self.memory_policy:
            self.memory_policy.apply()

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


def set_oom_score(procfs: int, wanted: int | None, pid: str = "self") -> None:
    """Write the OOM score adjustment of `pid`. Errors: PermissionDenied when lowering it needs CAP_SYS_RESOURCE."""
    if wanted is None:
        return
    fd = open_kernel_file(procfs, f"{pid}/oom_score_adj", os.O_RDWR)
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


def try_oom_score(procfs: int, wanted: int | None) -> None:
    """As `set_oom_score` for an ordinary user, who may only raise it: lowering it is left undone, as runc does."""
    try:
        set_oom_score(procfs, wanted)
    except (PermissionError, PermissionDenied):
        return


def read_personality(section: Section) -> int | None:
    """`linux.personality` (personality(2))."""
    domain = section.choice("domain", PERSONALITIES)
    if flags := section.texts("flags"):
        raise InvalidArgument(
            f"{section.path('flags')}: {flags[0]!r} is not supported",
            hint="the specification defines no flag",
        )
    if domain is None and section.values:
        raise InvalidArgument(f"{section.path('domain')} is missing")
    return domain
