"""`linux.namespaces` and the id mappings (namespaces(7), user_namespaces(7))."""

from __future__ import annotations

import os
from fcntl import ioctl

from barque.spi.errors import InvalidArgument
from barque_runtime_native.cgroup.layout import read_text
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.namespaces.mappings import read_mappings, same_ids, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section

# word of the specification: (clone flag, file below /proc/PID/ns)
KINDS = {
    "user": (syscalls.CLONE_NEWUSER, "user"),
    "pid": (syscalls.CLONE_NEWPID, "pid"),
    "network": (syscalls.CLONE_NEWNET, "net"),
    "ipc": (syscalls.CLONE_NEWIPC, "ipc"),
    "uts": (syscalls.CLONE_NEWUTS, "uts"),
    "mount": (syscalls.CLONE_NEWNS, "mnt"),
    "cgroup": (syscalls.CLONE_NEWCGROUP, "cgroup"),
    "time": (syscalls.CLONE_NEWTIME, "time"),
}
NS_GET_NSTYPE = 0xB703


class NamespacePlan:
    """Which namespaces are new, which are entered by path, and what a new user namespace maps."""

    def __init__(self, linux: Section) -> None:
        self.new: set[str] = set()
        self.paths: dict[str, str] = {}
        for section in linux.sections("namespaces"):
            kind = section.required("type")
            if kind not in KINDS:
                raise InvalidArgument(f"{section.path('type')}: unknown namespace {kind!r}")
            if kind in self.new or kind in self.paths:
                raise InvalidArgument(f"{section.path('type')}: {kind} is given twice")
            if path := section.text("path"):
                self.paths[kind] = path
            else:
                self.new.add(kind)
        self.uid_map = read_mappings(linux, "uidMappings")
        self.gid_map = read_mappings(linux, "gidMappings")
        self.time_offsets = read_time_offsets(linux.section("timeOffsets"))
        if "user" in self.paths and is_own_user_namespace(self.paths["user"]):
            self._stay(linux)
        self._check(linux)

    def _stay(self, linux: Section) -> None:
        """A path to the user namespace that the runtime is in: setns(2) refuses that, and nothing is to be done."""
        for key, file, mappings in (
            ("uidMappings", "uid_map", self.uid_map),
            ("gidMappings", "gid_map", self.gid_map),
        ):
            if mappings and not same_ids(read_text(f"/proc/self/{file}"), mappings):
                raise not_matching(linux.path(key))
        del self.paths["user"]
        self.uid_map, self.gid_map = [], []

    def _check(self, linux: Section) -> None:
        field = linux.path("namespaces")
        if self.time_offsets and "time" not in self.new:
            raise InvalidArgument(f"{linux.path('timeOffsets')} needs a new time namespace")
        if not self.own("mount"):
            raise InvalidArgument(f"{field} must hold a mount namespace")
        if self.user and not (self.uid_map and self.gid_map):
            raise InvalidArgument(
                f"{field}: user namespaces enabled, but no namespace path to join or mappings to apply specified",
                hint="give both linux.uidMappings and linux.gidMappings",
            )
        if not self.own("user") and (self.uid_map or self.gid_map):
            raise InvalidArgument(
                f"{linux.path('uidMappings')}: user namespace mappings specified, but user namespace isn't enabled in "
                "the config",
                hint=f"add one to {field}",
            )

    @property
    def user(self) -> bool:
        """Whether there is a new user namespace."""
        return "user" in self.new

    def own(self, kind: str) -> bool:
        """Whether the container does not share this namespace with the runtime."""
        return kind in self.new or kind in self.paths

    @property
    def clone_flags(self) -> int:
        """Flags for clone3. The cgroup namespace comes later: its root is where its first process is at that moment.
        The time namespace comes before: see `Visit`."""
        return sum(KINDS[kind][0] for kind in self.new if kind not in ("cgroup", "time"))

    def needs_stage(self, *, rootless: bool) -> bool:
        """Whether the runtime itself could not come back from these namespaces: see `stage`."""
        around = ("time" in self.new) + sum(kind != "mount" for kind in self.paths)
        return "user" in self.paths or (rootless and bool(around))

    def describe(self) -> str:
        """One line for people."""
        joined = [f"{kind}={path}" for kind, path in self.paths.items()]
        return f"namespaces {' '.join([*sorted(self.new), *joined])}"


class Visit:
    """Be in other namespaces while a child is cloned, and back after it: the child inherits them.

    A new time namespace is made here too: its offsets can be set only before the first process is in it.

    A context manager for a single-threaded process. Only the children of a process enter a pid namespace; the
    others could be entered by the child too, but not any more once it is in a new user namespace.
    """

    def __init__(self, targets: list[tuple[int, int]], new_time: str | None = None) -> None:
        """`targets`: (descriptor of a namespace or pidfd, clone flag); `new_time`: offsets as timens_offsets takes them."""
        self.targets = targets
        self.new_time = new_time
        self.home: list[tuple[int, int]] = []

    def __enter__(self) -> None:
        files = dict(KINDS.values())
        try:
            for fd, flag in self.targets:
                self._remember(flag, files[flag])
                syscalls.setns(fd, flag)
            if self.new_time is not None:
                self._remember(syscalls.CLONE_NEWTIME, "time")
                syscalls.unshare(syscalls.CLONE_NEWTIME)
                if self.new_time:
                    write_file("/proc/self/timens_offsets", self.new_time)
        except BaseException:
            self.__exit__()
            raise

    def _remember(self, flag: int, file: str) -> None:
        self.home.append((os.open(f"/proc/self/ns/{file}", os.O_RDONLY | os.O_CLOEXEC), flag))

    def __exit__(self, *_: object) -> None:
        while self.home:
            fd, flag = self.home.pop()
            try:
                syscalls.setns(fd, flag)
            finally:
                os.close(fd)


def open_paths(plan: NamespacePlan) -> list[tuple[int, int]]:
    """The namespaces to enter by path, opened, with their clone flags. Errors: InvalidArgument that names the path."""
    targets: list[tuple[int, int]] = []
    try:
        for kind, path in plan.paths.items():
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                raise InvalidArgument(f"{kind} namespace {path}: {os.strerror(error.errno or 0)}") from error
            targets.append((fd, KINDS[kind][0]))
            if kind_of(fd) != KINDS[kind][0]:
                raise InvalidArgument(f"{kind} namespace {path}: is not a {kind} namespace")
    except BaseException:
        close_all(targets)
        raise
    return targets


def is_own_user_namespace(path: str) -> bool:
    """Whether `path` is of the runtime's; one that cannot be looked at is told about by `open_paths`."""
    try:
        return os.path.samefile(path, "/proc/self/ns/user")
    except OSError:
        return False


def not_matching(field: str) -> InvalidArgument:
    """Mappings beside a path are allowed when they say what is the case, since some callers give both."""
    return InvalidArgument(
        f"{field}: user namespaces enabled, but both namespace path and non-matching mapping specified (you may only "
        "provide one)"
    )


def kind_of(fd: int) -> int:
    """The clone flag of the namespace that `fd` is of (ioctl_ns(2)); 0 when it is of something else."""
    try:
        return ioctl(fd, NS_GET_NSTYPE)
    except OSError:
        return 0


def split(targets: list[tuple[int, int]], *flags: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Those of the kinds `flags`, and the others."""
    return [each for each in targets if each[1] in flags], [each for each in targets if each[1] not in flags]


def shared(pid: int, file: str) -> bool:
    """Whether `pid` is in the same namespace as this process; `file` is its name below /proc/PID/ns."""
    return os.path.samefile(f"/proc/{pid}/ns/{file}", f"/proc/self/ns/{file}")


def close_all(targets: list[tuple[int, int]]) -> None:
    """Close the descriptors."""
    for fd, _ in targets:
        os.close(fd)


def read_time_offsets(section: Section) -> str:
    """`linux.timeOffsets` in the form of /proc/PID/timens_offsets (time_namespaces(7))."""
    lines = []
    for clock in ("boottime", "monotonic"):
        offset = section.section(clock)
        seconds = offset.integer("secs", -(2**63), 2**63 - 1) or 0
        nanoseconds = offset.integer("nanosecs", 0, 999_999_999) or 0
        if seconds or nanoseconds:
            lines.append(f"{clock} {seconds} {nanoseconds}\n")
    return "".join(lines)
