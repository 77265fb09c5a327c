"""Idmapped mounts: a bind mount whose files show other owners (mount_setattr(2), MOUNT_ATTR_IDMAP).

The kernel takes the ids from a user namespace. One is made for the purpose, with a process in it that ends at once.
"""

from __future__ import annotations

import errno
import os

from barque.spi.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from barque_runtime_native.cgroup.layout import read_text, unescape
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.namespaces.mappings import read_mappings, write_map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.mounts.options import MountOptions
    from barque_runtime_native.namespaces.mappings import Mapping
    from barque_runtime_native.namespaces.namespaces import NamespacePlan
    from barque_runtime_native.spec import Section


class MountIds:
    """Which ids a mount maps: its own, or with option `idmap` or `ridmap` alone those of the container."""

    def __init__(self, section: Section, options: MountOptions, namespaces: NamespacePlan) -> None:
        self.name = section.name
        self.recursive = options.idmap_tree
        self.uid_map = read_mappings(section, "uidMappings")
        self.gid_map = read_mappings(section, "gidMappings")
        if not options.bind:
            raise InvalidArgument(f"{self.name}: id-mapped mounts are only supported for bind-mounts")
        if bool(self.uid_map) != bool(self.gid_map):
            raise InvalidArgument(
                f"{self.name}: id-mapped mounts must have both UID and GID mappings specified"
            )
        if not self.uid_map and not namespaces.own("user"):
            raise InvalidArgument(
                f"{section.path('options')}: 'idmap' without uidMappings and gidMappings takes those of the container, "
                "which has no user namespace"
            )
        if os.geteuid() != 0:
            raise PermissionDenied(
                f"{self.name}: id-mapped mounts are not supported for rootless containers",
                hint="remove the mappings, or run as root",
            )

    def apply(
        self, tree: int, source: str, namespaces: NamespacePlan, targets: list[tuple[int, int]]
    ) -> None:
        """Give the detached mount `tree` of `source` its ids. `targets`: what `open_paths` has opened.

        Errors: FailedPrecondition that names the file system when that cannot do it.
        """
        users = [fd for fd, flag in targets if flag == syscalls.CLONE_NEWUSER]
        if users and not self.uid_map:
            self._set(tree, source, users[0])
            return
        maps = (self.uid_map, self.gid_map) if self.uid_map else (namespaces.uid_map, namespaces.gid_map)
        fd = make_user_namespace(*maps, self.name)
        try:
            self._set(tree, source, fd)
        finally:
            os.close(fd)

    def _set(self, tree: int, source: str, namespace: int) -> None:
        try:
            syscalls.mount_setattr(
                tree, set_=syscalls.MOUNT_ATTR_IDMAP, recursive=self.recursive, userns=namespace
            )
        except OSError as error:
            where = f"{self.name}: cannot map the ids of {source}"
            if error.errno == errno.EINVAL:
                kind = filesystem_of(tree)
                raise FailedPrecondition(
                    f"{where}: its file system{kind} does not support idmapped mounts",
                    hint="or it is mounted with mapped ids already; use another file system, or no mappings",
                ) from error
            if error.errno == errno.EPERM:
                raise PermissionDenied(
                    f"{where}: the runtime has no power over its file system{filesystem_of(tree)}",
                    hint="this needs CAP_SYS_ADMIN in the user namespace that mounted it",
                ) from error
            raise


def make_user_namespace(uid_map: list[Mapping], gid_map: list[Mapping], name: str) -> int:
    """A descriptor of a new user namespace with these ids and nobody in it."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = syscalls.clone3(syscalls.CLONE_NEWUSER)
    if pid == 0:
        try:
            os.close(writer)
            os.read(reader, 1)
        finally:
            os._exit(0)
    try:
        write_map(pid, "uid_map", uid_map, f"{name}.uidMappings")
        write_map(pid, "gid_map", gid_map, f"{name}.gidMappings")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(reader)
        os.close(writer)
        os.waitpid(pid, 0)


def filesystem_of(fd: int) -> str:
    """The type of the file system, as ` (ext4)`, or empty when no mount of it is in sight."""
    device = os.fstat(fd).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in read_text("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        if left.split(" ")[2] == wanted:
            return f" ({unescape(right.split(' ')[0])})"
    return ""
