"""`linux.sysctl`: only what belongs to a namespace of the container's own."""

from __future__ import annotations

import os

from barque.spi.errors import InvalidArgument
from barque_runtime_native.kernel.kernel_files import open_kernel_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.namespaces.namespaces import NamespacePlan

IPC = frozenset(
    f"kernel/{name}"
    for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced msg_next_id sem_next_id shm_next_id "
    "auto_msgmni".split()
)
# how many namespaces the users of a user namespace may make (user_namespaces(7), namespaces(7))
USER = frozenset(f"user/max_{name}_namespaces" for name in "cgroup ipc mnt net pid time user uts".split())
FILES = {"network": "net", "ipc": "ipc", "uts": "uts", "user": "user"}


class Sysctl:
    """One kernel parameter."""

    def __init__(self, name: str, value: str, namespaces: NamespacePlan) -> None:
        self.name = name
        self.path = path_of(name)
        self.value = value
        kind = namespace_of(self.path)
        if self.path == "kernel/hostname":
            raise InvalidArgument(
                f'linux.sysctl: sysctl "{name}" is not allowed as it conflicts with the OCI "hostname" field'
            )
        if kind is None:
            raise InvalidArgument(
                f'linux.sysctl: sysctl "{name}" is not in a separate kernel namespace',
                hint="set it on the host, or leave it out",
            )
        if not namespaces.own(kind) or leads_here(namespaces.paths.get(kind), kind):
            raise InvalidArgument(
                f'linux.sysctl: sysctl "{name}" not allowed in host {kind} namespace',
                hint=f"give the container a {kind} namespace of its own",
            )

    def describe(self) -> str:
        """One line for people."""
        return f"sysctl {self.name} = {self.value}"

    def execute(self, procfs: int) -> None:
        """Write it through the host's own procfs: the values seen there are those of the writer's namespaces."""
        fd = open_kernel_file(procfs, f"sys/{self.path}", os.O_WRONLY)
        try:
            os.write(fd, self.value.encode())
        finally:
            os.close(fd)


def path_of(name: str) -> str:
    """The path below /proc/sys. Whichever of `.` and `/` comes first separates, the other is literal (sysctl(8))."""
    dot, slash = name.find("."), name.find("/")
    if dot >= 0 and (slash < 0 or dot < slash):
        name = name.translate(str.maketrans("./", "/."))
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise InvalidArgument(f"linux.sysctl: {name!r} is not a name")
    return name


def namespace_of(path: str) -> str | None:
    """Which namespace holds the parameter; None for the whole machine's."""
    if path.startswith("net/"):
        return "network"
    if path in IPC or path.startswith("fs/mqueue/"):
        return "ipc"
    if path in USER:
        return "user"
    return "uts" if path == "kernel/domainname" else None


def leads_here(path: str | None, kind: str) -> bool:
    """Whether the path of a namespace is that of the runtime's own."""
    if path is None:
        return False
    try:
        return os.path.samefile(path, f"/proc/self/ns/{FILES[kind]}")
    except OSError:
        return False  # refused where it is opened
