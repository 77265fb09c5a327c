"""`linux.maskedPaths` and `linux.readonlyPaths`. What does not exist is skipped, as the specification wants."""

from __future__ import annotations

import errno
import os
import stat

from barque.spi.errors import FailedPrecondition
from barque_runtime_native.kernel import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.mounts.rootfs import Root

NULL_DEVICE = os.makedev(1, 3)


class MaskedPaths:
    """Cover files with /dev/null and directories with one empty read-only tmpfs."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def describe(self) -> str:
        """One line for people."""
        return f"mask {', '.join(self.paths)}"

    def execute(self, root: Root) -> None:
        """Mask each path that exists. The null device is the host's, and is verified to be one."""
        null = syscalls.open_tree(syscalls.AT_FDCWD, "/dev/null", 0)
        empty = -1
        try:
            check_null(null)
            for path in self.paths:
                target = open_existing(root, path)
                if target < 0:
                    continue
                try:
                    if stat.S_ISDIR(os.fstat(target).st_mode):
                        if empty < 0:
                            empty = empty_directory()
                            # itself the first time: before Linux 6.15 only what is attached can be cloned
                            syscalls.move_mount(empty, target)
                        else:
                            cover(empty, target)
                    else:
                        cover(null, target)
                finally:
                    os.close(target)
        finally:
            os.close(null)
            if empty >= 0:
                os.close(empty)


class ReadonlyPaths:
    """Make each path, with what is mounted below it, read-only."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def describe(self) -> str:
        """One line for people."""
        return f"make read-only {', '.join(self.paths)}"

    def execute(self, root: Root) -> None:
        """Put a read-only clone of each path on itself."""
        for path in self.paths:
            target = open_existing(root, path)
            if target < 0:
                continue
            try:
                flags = syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE | syscalls.AT_EMPTY_PATH
                tree = syscalls.open_tree(target, "", flags)
                try:
                    syscalls.mount_setattr(tree, set_=syscalls.MOUNT_ATTR_RDONLY, recursive=True)
                    syscalls.move_mount(tree, target)
                finally:
                    os.close(tree)
            finally:
                os.close(target)


def open_existing(root: Root, path: str) -> int:
    """An O_PATH descriptor of `path` in the container, or -1 when nothing is there."""
    try:
        return root.open(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return -1
        raise


def check_null(fd: int) -> None:
    """Errors: FailedPrecondition unless `fd` is character device 1:3."""
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != NULL_DEVICE:
        raise FailedPrecondition("/dev/null is not the null device", hint="mknod /dev/null c 1 3 on the host")


def empty_directory() -> int:
    """A detached, empty, read-only tmpfs."""
    context = syscalls.fsopen("tmpfs")
    try:
        for key, value in (("source", "tmpfs"), ("size", "0"), ("nr_inodes", "2"), ("mode", "0755")):
            syscalls.fsconfig_string(context, key, value)
        syscalls.fsconfig_flag(context, "ro")
        syscalls.fsconfig_create(context)
        return syscalls.fsmount(context, syscalls.MOUNT_ATTR_RDONLY)
    finally:
        os.close(context)


def cover(source: int, target: int) -> None:
    """Mount a clone of `source` on `target`."""
    tree = syscalls.open_tree(source, "", syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH)
    try:
        syscalls.move_mount(tree, target)
    finally:
        os.close(tree)
