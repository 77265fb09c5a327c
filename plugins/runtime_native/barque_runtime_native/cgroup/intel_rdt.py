"""`linux.intelRdt`: a container's share of cache and memory bandwidth, through the resctrl file system.

A class of service is a directory of resctrl with the files `tasks` and `schemata`; a monitoring group is a directory
in its `mon_groups` (kernel: Documentation/filesystems/resctrl.rst; runtime-spec: config-linux.md, "IntelRdt"). A class
that the runtime made under the container's id goes with the container; one that `closID` names is somebody else's.
"""

from __future__ import annotations

import os

from barque.spi.errors import AlreadyExists, BarqueError, FailedPrecondition, InvalidArgument
from barque_runtime_native.kernel import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section

MOUNT_POINT = "/sys/fs/resctrl"
RDTGROUP_SUPER_MAGIC = 0x7655821
MAX_FILE = 1 << 16
NO_CLASS = "/"


class IntelRdt:
    """The class of service and the monitoring group of one container."""

    def __init__(self, section: Section, container: str, mount_point: str = MOUNT_POINT) -> None:
        self.name = section.name
        self.mount_point = mount_point
        self.class_id = section.text("closID")
        # closID `/` is the class that everything is in which no other one holds
        self.own = not self.class_id
        self.shares = [*wanted_schemata(section), *section.texts("schemata")]
        self.monitored = section.boolean("enableMonitoring")
        self.container = container
        self.made: list[str] = []
        if self.class_id in (".", "..") or ("/" in self.class_id and self.class_id != NO_CLASS):
            raise InvalidArgument(
                f"{section.path('closID')}: {self.class_id!r} is not the name of a directory"
            )
        if any("\n" in line for line in self.shares):
            raise InvalidArgument(f"{section.path('schemata')}: a line holds a line break")

    @property
    def directory(self) -> str:
        """The class of service."""
        return f"{self.mount_point}/{self.class_id or self.container}".rstrip("/")

    @property
    def monitor(self) -> str:
        """The monitoring group."""
        return f"{self.directory}/mon_groups/{self.container}"

    def check_host(self) -> None:
        """Errors: FailedPrecondition that names the field when resctrl is not mounted."""
        try:
            fd = os.open(self.mount_point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._absent() from error
        try:
            if syscalls.fstatfs_type(fd) != RDTGROUP_SUPER_MAGIC:
                raise self._absent()
        finally:
            os.close(fd)

    def _absent(self) -> FailedPrecondition:
        return FailedPrecondition(
            f"{self.name}: Intel RDT is not enabled: no resctrl file system on {self.mount_point}",
            hint="mount -t resctrl resctrl /sys/fs/resctrl, on a CPU and kernel that have it",
        )

    def apply(self, pid: int) -> None:
        """Make or find the groups and put process `pid` into them. On an error nothing that it made is left."""
        try:
            self._prepare()
            self.enter(pid)
        except OSError as error:
            self.undo()
            raise FailedPrecondition(
                f"{self.name}: {error.filename or self.directory}: {(error.strerror or '').lower()}{self._reason()}"
            ) from error
        except BarqueError:
            self.undo()
            raise

    def _prepare(self) -> None:
        if self.class_id and not os.path.isdir(self.directory) and not self.shares:
            raise FailedPrecondition(
                f"{self.name}.closID: there is no class {self.class_id!r}", hint="make it first"
            )
        if self.class_id == NO_CLASS or (self.class_id and os.path.isdir(self.directory)):
            self._compare()
        else:
            self._make(self.directory)
            for line in self.shares:
                write(f"{self.directory}/schemata", line)
        if self.monitored:
            self._make(self.monitor)

    def _make(self, directory: str) -> None:
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            raise AlreadyExists(f"{self.name}: {directory} exists already", hint="remove it") from None
        self.made.append(directory)

    def _compare(self) -> None:
        """A class that exists must be as it is wanted."""
        found = {entry for line in read_lines(f"{self.directory}/schemata") for entry in split_line(line)}
        for line in self.shares:
            for entry in split_line(line):
                if entry not in found:
                    raise InvalidArgument(
                        f"{self.name}: class {self.class_id!r} exists and does not have {line!r}",
                        hint="change its schemata, or leave them out here",
                    )

    def enter(self, pid: int) -> None:
        """Put one more process into the groups of a container that exists."""
        write(f"{self.directory}/tasks", str(pid))
        if self.monitored:
            write(f"{self.monitor}/tasks", str(pid))

    def _reason(self) -> str:
        """What the kernel says about the last write."""
        try:
            said = " ".join(read_lines(f"{self.mount_point}/info/last_cmd_status"))
        except OSError:
            return ""
        return f": {said}" if said and said != "ok" else ""

    def undo(self) -> None:
        """Remove what `apply` made."""
        while self.made:
            remove(self.made.pop())

    def remove(self) -> None:
        """Remove what the container had of its own. Idempotent."""
        if self.monitored:
            remove(self.monitor)
        if self.own:
            remove(self.directory)


def wanted_schemata(section: Section) -> list[str]:
    """Lines of `l3CacheSchema` and `memBwSchema`: a bandwidth line of the first gives way to the second."""
    bandwidth = section.text("memBwSchema")
    if bandwidth and (not bandwidth.startswith("MB:") or "\n" in bandwidth):
        raise InvalidArgument(f"{section.path('memBwSchema')} is not one line that begins with MB:")
    cache = [line.strip() for line in section.text("l3CacheSchema").split("\n")]
    lines = [line for line in cache if line and not (bandwidth and line.startswith("MB:"))]
    return [*lines, bandwidth] if bandwidth else lines


def split_line(line: str) -> list[tuple[str, str, str]]:
    """`L3:0=ff;1=ff` as (resource, domain, share), without what people write differently."""
    resource, _, domains = line.partition(":")
    found = []
    for part in domains.split(";"):
        domain, _, share = part.strip().partition("=")
        found.append(
            (resource.strip(), domain.strip(), share.strip().lower().removeprefix("0x").lstrip("0") or "0")
        )
    return found


def read_lines(path: str) -> list[str]:
    """A small file's lines, stripped."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return [line.strip() for line in os.read(fd, MAX_FILE).decode().splitlines() if line.strip()]
    finally:
        os.close(fd)


def write(path: str, line: str) -> None:
    """One line to a kernel file. Errors: OSError with the path."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, f"{line}\n".encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(fd)


def remove(directory: str) -> None:
    """Remove a group: the kernel puts its processes back into the one above."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return
