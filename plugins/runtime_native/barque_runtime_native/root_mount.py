"""The steps that make a directory the root of a mount namespace (mount_namespaces(7), pivot_root(2))."""

from __future__ import annotations

import errno
import os

from barque.spi.errors import InvalidArgument
from barque_runtime_native import syscalls
from barque_runtime_native.mount_options import PROPAGATION
from barque_runtime_native.rootfs import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section


class RootMount:
    """Propagation, the read-only flag and the change of root."""

    def __init__(self, config: Section, bundle: str, *, no_pivot: bool) -> None:
        root = config.section("root")
        self.path = os.path.realpath(os.path.join(bundle, root.required("path")))
        self.read_only = root.boolean("readonly")
        self.no_pivot = no_pivot
        linux = config.section("linux")
        word = linux.text("rootfsPropagation")
        if word and word not in PROPAGATION:
            raise InvalidArgument(f"{linux.path('rootfsPropagation')}: unknown value {word!r}")
        self.propagation = PROPAGATION[word][0] if word else 0
        if self.path == "/":
            raise InvalidArgument(f"{root.path('path')} is the host's own root directory")
        if not os.path.isdir(self.path):
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
            set_tree_propagation("/", self.propagation or syscalls.MS_SLAVE)
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
            syscalls.mount_setattr(root.fd, propagation=self.propagation)
        if self.read_only:
            syscalls.mount_setattr(root.fd, set_=syscalls.MOUNT_ATTR_RDONLY)


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
