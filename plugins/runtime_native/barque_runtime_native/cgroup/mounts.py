"""The container's view of its cgroups: a mount of type `cgroup` (any layout) or `cgroup2`."""

from __future__ import annotations

import os

from barque.spi.errors import InvalidArgument
from barque_runtime_native.cgroup.layout import current_layout
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.mounts.mounts import apply_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.cgroup.layout import Hierarchy
    from barque_runtime_native.cgroup.plan import CgroupPlan
    from barque_runtime_native.mounts.options import MountOptions
    from barque_runtime_native.mounts.rootfs import Root


class CgroupMount:
    """v2: one mount. v1: a tmpfs with one mount a hierarchy and links for the controllers mounted together.

    With a cgroup namespace the file systems are mounted anew and show its root; without one, the container's
    own directories are bound, so that the rest of the host's tree stays out of sight.
    """

    def __init__(
        self, destination: str, options: MountOptions, cgroup: CgroupPlan, *, namespace: bool
    ) -> None:
        self.destination = destination
        self.options = options
        self.cgroup = cgroup
        self.namespace = namespace
        words = ["tmpcopyup"] * options.copy_up + [key for key, _ in options.data]
        if words and not (cgroup.layout.unified and namespace and not options.copy_up):
            raise InvalidArgument(
                f"{options.name}.options: {words[0]!r} has no meaning for this cgroup mount"
            )

    def describe(self) -> str:
        """One line for people."""
        return f"mount cgroup on {self.destination}"

    def execute(self, root: Root) -> None:
        """Make and attach."""
        if self.cgroup.layout.unified:
            target = root.directory(self.destination)
            try:
                self._attach(self._hierarchies()[0], target)
            finally:
                os.close(target)
            return
        top = self._attach_tmpfs(root)
        try:
            for hierarchy in self._hierarchies():
                self._attach_below(hierarchy, root)
            syscalls.mount_setattr(top, set_=self.options.set)
        finally:
            os.close(top)

    def _hierarchies(self) -> list[Hierarchy]:
        """All of the host's, though a rootless container may have no cgroup of its own in them."""
        return current_layout().hierarchies

    def _attach_tmpfs(self, root: Root) -> int:
        context = syscalls.fsopen("tmpfs")
        try:
            syscalls.fsconfig_string(context, "source", "tmpfs")
            syscalls.fsconfig_string(context, "mode", "755")
            syscalls.fsconfig_create(context)
            mount = syscalls.fsmount(context, self.options.set & ~syscalls.MOUNT_ATTR_RDONLY)
        finally:
            os.close(context)
        for hierarchy in self._hierarchies():
            os.mkdir(hierarchy.name, 0o755, dir_fd=mount)
            for controller in hierarchy.controllers:
                if controller != hierarchy.name and len(hierarchy.controllers) > 1:
                    os.symlink(hierarchy.name, controller, dir_fd=mount)
        target = root.directory(self.destination)
        try:
            syscalls.move_mount(mount, target)
        finally:
            os.close(target)
        return mount

    def _attach_below(self, hierarchy: Hierarchy, root: Root) -> None:
        target = root.open(f"{self.destination}/{hierarchy.name}", os.O_PATH | os.O_DIRECTORY)
        try:
            self._attach(hierarchy, target)
        finally:
            os.close(target)

    def _attach(self, hierarchy: Hierarchy, target: int) -> None:
        if self.namespace:
            mount = self._filesystem(hierarchy)
        else:
            source = self.cgroup.directories.get(hierarchy.name, hierarchy.mountpoint + hierarchy.own)
            mount = syscalls.open_tree(syscalls.AT_FDCWD, source, syscalls.OPEN_TREE_CLONE)
        try:
            apply_options(mount, self.options, attributes=not self.namespace)
            syscalls.move_mount(mount, target)
        finally:
            os.close(mount)

    def _filesystem(self, hierarchy: Hierarchy) -> int:
        context = syscalls.fsopen("cgroup2" if hierarchy.v2 else "cgroup")
        try:
            syscalls.fsconfig_string(context, "source", "cgroup")
            for controller in hierarchy.controllers:
                syscalls.fsconfig_flag(context, controller)
            for key, value in self.options.data:
                if value is None:
                    syscalls.fsconfig_flag(context, key)
                else:
                    syscalls.fsconfig_string(context, key, value)
            if not hierarchy.controllers and not hierarchy.v2:
                syscalls.fsconfig_string(context, "name", hierarchy.label)
            syscalls.fsconfig_create(context)
            return syscalls.fsmount(context, self.options.set)
        finally:
            os.close(context)
