"""The steps that make a directory the root of a mount namespace (mount_namespaces(7), pivot_root(2))."""

from __future__ import annotations

import errno
import os

from barque.spi.errors import InvalidArgument
from barque_runtime_native.cgroup.layout import read_text, unescape
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.mounts.options import PROPAGATION
from barque_runtime_native.mounts.rootfs import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section


class RootMount:
    """Propagation, the read-only flag and the change of root."""

    def __init__(self, config: Section, bundle: str, *, no_pivot: bool, elsewhere: bool = False) -> None:
        """`elsewhere`: the path is one of another mount namespace, which cannot be looked at yet."""
        if not config.has("root"):
            raise InvalidArgument("root is missing")
        root = config.section("root")
        self.path = os.path.normpath(os.path.join(bundle, root.required("path")))
        if not elsewhere:
            self.path = os.path.realpath(self.path)
        self.read_only = root.boolean("readonly")
        self.no_pivot = no_pivot
        linux = config.section("linux")
        word = linux.text("rootfsPropagation")
        if word and word not in PROPAGATION:
            raise InvalidArgument(f"{linux.path('rootfsPropagation')}: unknown value {word!r}")
        self.propagation, self.recursive = PROPAGATION[word] if word else (0, False)
        if self.path == "/":
            raise InvalidArgument(f"{root.path('path')} is the host's own root directory")
        if not elsewhere and not os.path.isdir(self.path):
            raise InvalidArgument(f"{root.path('path')} is not a directory: {self.path}")

    def describe(self) -> str:
        """One line for people."""
        return f"root {self.path}{' read-only' if self.read_only else ''}"

    def reach(self) -> int:
        """The directory (O_PATH), opened while this process is still who may walk there."""
        return os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, place: int) -> Root:
        """Cut propagation to the host and attach a private clone of the root's tree on itself; closes `place`."""
        try:
            # Always the whole tree: one mount left shared would show the host what is mounted here. What shall not be
            # bound is only marked so in the end: it could not be cloned.
            private = self.propagation in (syscalls.MS_PRIVATE, syscalls.MS_UNBINDABLE)
            set_tree_propagation(
                "/", syscalls.MS_PRIVATE if private else self.propagation or syscalls.MS_SLAVE
            )
            if self.propagation == syscalls.MS_SHARED:
                make_private(place)
            flags = syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE | syscalls.AT_EMPTY_PATH
            tree = syscalls.open_tree(place, "", flags)
            if self.propagation == syscalls.MS_SHARED:
                syscalls.mount_setattr(tree, propagation=syscalls.MS_PRIVATE, recursive=True)
            syscalls.move_mount(tree, place)
        finally:
            os.close(place)
        return Root(tree)

    def enter(self, root: Root) -> None:
        """Make it `/`, and forget the old root so thoroughly that no descriptor of it is left."""
        old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fchdir(root.fd)
            if self.no_pivot:
                hide_kernel_mounts(self.path)
                syscalls.mount(".", "/", "", syscalls.MS_MOVE)
                os.chroot(".")
            else:
                syscalls.pivot_root(".", ".")
                os.fchdir(old)
                set_tree_propagation(".", syscalls.MS_SLAVE)
                syscalls.umount2(".", syscalls.MNT_DETACH)
        finally:
            os.close(old)
        os.chdir("/")

    def finish(self, root: Root) -> None:
        """Set the root's own propagation and read-only flag."""
        if self.propagation:
            syscalls.mount_setattr(root.fd, propagation=self.propagation, recursive=self.recursive)
        if self.read_only:
            syscalls.mount_setattr(root.fd, set_=syscalls.MOUNT_ATTR_RDONLY)


def hide_kernel_mounts(keep: str) -> None:
    """Take away the host's procfs and sysfs mounts, which stay in this namespace without pivot_root(2).

    A container that makes a user namespace may mount a procfs of its own where there is one that nothing covers.
    `keep`: the container's root, whose mounts stay.
    """
    for mount_point in reversed(kernel_mounts(read_text("/proc/self/mountinfo"), keep)):
        try:
            syscalls.umount2(mount_point, syscalls.MNT_DETACH)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            # locked by the owner of an outer user namespace: covered instead
            syscalls.mount("tmpfs", mount_point, "tmpfs", syscalls.MOUNT_ATTR_RDONLY, "size=0,nr_inodes=2")


def kernel_mounts(mountinfo: str, keep: str) -> list[str]:
    """Mount points of procfs and sysfs outside of `keep`, in the text of /proc/self/mountinfo."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        mount_point = unescape(left.split(" ")[4])
        inside = mount_point == keep or mount_point.startswith(f"{keep}/")
        if right.split(" ")[0] in ("proc", "sysfs") and not inside:
            found.append(mount_point)
    return found


def set_tree_propagation(path: str, propagation: int) -> None:
    """Change the propagation of a whole mount tree."""
    syscalls.mount("", path, "", propagation | syscalls.MS_REC)


def make_private(place: int) -> None:
    """Make the mount that `place` lies in private: nothing mounted on it may reach the host."""
    fd = os.dup(place)
    try:
        while True:
            try:
                syscalls.mount_setattr(fd, propagation=syscalls.MS_PRIVATE)
                return
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
            parent = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = parent
    finally:
        os.close(fd)
