"""The mounts of a configuration as a plan: objects made and checked first, executed in the child later.

All of it uses the mount calls of Linux 5.2 and 5.12 (fsopen, open_tree, mount_setattr, move_mount): a mount is made
detached, gets its attributes while nobody can reach it, and is then attached to a descriptor of its destination.
"""

from __future__ import annotations

import errno
import os
import stat

from barque.spi.errors import InvalidArgument, PermissionDenied
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.mounts.options import FLAG_NAMES, MountOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.mounts.idmapped import MountIds
    from barque_runtime_native.mounts.remount import Remount
    from barque_runtime_native.mounts.rootfs import Root
    from barque_runtime_native.namespaces.namespaces import NamespacePlan
    from barque_runtime_native.spec import Section

PROC_SUPER_MAGIC = 0x9FA0
# fsconfig(2) takes strings of up to 255 bytes
MAX_VALUE = 255
# What may be bound below /proc: files that tools replace for one container, and that grant nothing.
PROC_ALLOWED = frozenset(
    f"/proc/{name}"
    for name in "cpuinfo diskstats meminfo stat swaps uptime loadavg slabinfo net/dev sys/kernel/ns_last_pid "
    "sys/crypto/fips_enabled".split()
)
ORDINARY = frozenset(("proc", "sysfs"))
# what the root of a user namespace must have for a new one
NEEDS = {
    "proc": "in a user namespace this needs a new pid namespace, and outside a /proc that nothing covers",
    "sysfs": "in a user namespace this needs a new network namespace; without one bind /sys, with rbind",
    "mqueue": "in a user namespace this needs a new ipc namespace",
}


class FilesystemMount:
    """A new file system (proc, tmpfs, devpts, mqueue, overlay …)."""

    def __init__(self, fstype: str, source: str, destination: str, options: MountOptions) -> None:
        self.fstype = fstype
        self.source = source
        self.destination = destination
        self.options = options
        if options.copy_up and fstype != "tmpfs":
            raise InvalidArgument(f"mount of {destination}: tmpcopyup is for tmpfs only")
        if options.copy_up and self.by_path:
            raise InvalidArgument(
                f"{options.name}.options: tmpcopyup does not go with iversion, nor with a value of more than 255 bytes"
            )
        if options.copy_up:
            # for those who need it, and before the clone
            from barque_runtime_native.mounts.copy_up import copy_tree

            self.copy_tree = copy_tree

    @property
    def by_path(self) -> bool:
        """Whether only mount(2) can make it: fsconfig(2) has no `iversion`, and takes no long value."""
        long = any(value and len(os.fsencode(value)) > MAX_VALUE for _, value in self.options.data)
        return long or bool(self.options.super_set & syscalls.MS_I_VERSION)

    def describe(self) -> str:
        """One line for people."""
        return f"mount {self.fstype} on {self.destination}"

    def execute(self, root: Root) -> None:
        """Make it and attach it."""
        # A link in place of /proc or /sys would leave the paths to be masked reachable under another name.
        target = (
            self._ordinary_directory(root) if self.fstype in ORDINARY else root.directory(self.destination)
        )
        mount = -1
        try:
            if self.by_path:
                self._mount_by_path(root, target)
                return
            mount = self._make_if_allowed()
            if self.options.copy_up:
                self._copy_up(root, mount)
            apply_options(mount, self.options, attributes=self.options.copy_up)
            syscalls.move_mount(mount, target)
        finally:
            os.close(target)
            if mount >= 0:
                os.close(mount)

    def _ordinary_directory(self, root: Root) -> int:
        try:
            return root.open(self.destination, os.O_PATH | os.O_DIRECTORY, follow=False)
        except FileNotFoundError:
            return root.directory(self.destination)
        except OSError as error:
            raise InvalidArgument(
                f"mount of {self.destination}: {self.fstype} must be mounted on an ordinary directory",
                hint="the image has something else there",
            ) from error

    def _make_if_allowed(self) -> int:
        try:
            return self._make()
        except PermissionError as error:
            if self.fstype not in NEEDS:
                raise
            text = (error.strerror or "").lower()
            raise PermissionDenied(f"{self.describe()}: {text}", hint=NEEDS[self.fstype]) from error

    def _make(self) -> int:
        context = syscalls.fsopen(self.fstype)
        try:
            syscalls.fsconfig_string(context, "source", self.source or self.fstype)
            if self.options.read_only and not self.options.copy_up:
                syscalls.fsconfig_flag(context, "ro")
            for flag, name in FLAG_NAMES.items():
                if self.options.super_set & flag:
                    syscalls.fsconfig_flag(context, name)
            for key, value in self.options.data:
                if value is None:
                    syscalls.fsconfig_flag(context, key)
                else:
                    syscalls.fsconfig_string(context, key, value)
            syscalls.fsconfig_create(context)
            return syscalls.fsmount(context, 0 if self.options.copy_up else self.options.set)
        except OSError as error:
            error.strerror = f"{error.strerror}{kernel_message(context)}"
            raise
        finally:
            os.close(context)

    def _mount_by_path(self, root: Root, target: int) -> None:
        """mount(2), for option strings that fsconfig(2) does not take."""
        source, flags = self.source or self.fstype, mount_flags(self.options.set) | self.options.super_set
        syscalls.mount(source, f"/proc/self/fd/{target}", self.fstype, flags, self.options.data_text)
        if self.options.propagation or self.options.tree_set or self.options.tree_clear:
            mount = root.open(self.destination)
            try:
                apply_options(mount, self.options, attributes=False)
            finally:
                os.close(mount)

    def _copy_up(self, root: Root, mount: int) -> None:
        source = root.open(self.destination, os.O_RDONLY | os.O_DIRECTORY)
        try:
            top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
            try:
                self.copy_tree(source, top)
            finally:
                os.close(top)
        finally:
            os.close(source)


class BindMount:
    """A part of the host's tree, or of a volume, at another place."""

    def __init__(self, source: str, destination: str, options: MountOptions) -> None:
        self.source = source
        self.destination = destination
        self.options = options
        self.ids: MountIds | None = None
        self.tree = -1

    def describe(self) -> str:
        """One line for people."""
        return f"bind {self.source} to {self.destination}"

    def prepare(self, namespaces: NamespacePlan, targets: list[tuple[int, int]]) -> None:
        """Take the source in the caller: a child in a user namespace may not be able to reach it, or to map its ids."""
        self.tree = self._clone()
        if self.ids:
            self.ids.apply(self.tree, self.source, namespaces, targets)

    def release(self) -> None:
        """Close what `prepare` opened."""
        if self.tree >= 0:
            os.close(self.tree)
            self.tree = -1

    def _clone(self) -> int:
        flags = syscalls.OPEN_TREE_CLONE | (syscalls.AT_RECURSIVE if self.options.recursive else 0)
        try:
            return syscalls.open_tree(syscalls.AT_FDCWD, self.source, flags)
        except OSError as error:
            if error.errno != errno.EINVAL or self.options.recursive:
                raise
            raise InvalidArgument(
                f"{self.options.name}: cannot bind {self.source} without what is mounted below it",
                hint="in a user namespace that would uncover what the mounts hide: use rbind",
            ) from error

    def execute(self, root: Root) -> None:
        """Clone the source, set its attributes, attach it."""
        tree = self.tree if self.tree >= 0 else self._clone()
        try:
            is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
            target = root.directory(self.destination) if is_directory else root.file(self.destination)
            try:
                self._check_target(target)
                apply_options(tree, self.options, attributes=True)
                syscalls.move_mount(tree, target)
            finally:
                os.close(target)
        finally:
            if tree != self.tree:
                os.close(tree)

    def _check_target(self, target: int) -> None:
        path = os.path.normpath("/" + self.destination.lstrip("/"))
        if syscalls.fstatfs_type(target) == PROC_SUPER_MAGIC and path not in PROC_ALLOWED:
            raise InvalidArgument(
                f"mount of {self.destination}: inside /proc", hint="/proc must stay the kernel's own"
            )


def apply_options(mount: int, options: MountOptions, *, attributes: bool) -> None:
    """Set attributes and propagation of a detached mount."""
    if attributes and (options.set or options.clear):
        syscalls.mount_setattr(mount, set_=options.set, clear=clear_mask(options.set, options.clear))
    if options.tree_set or options.tree_clear:
        clear = clear_mask(options.tree_set, options.tree_clear)
        syscalls.mount_setattr(mount, set_=options.tree_set, clear=clear, recursive=True)
    for propagation, recursive in options.propagation:
        syscalls.mount_setattr(mount, propagation=propagation, recursive=recursive)


def mount_flags(attributes: int) -> int:
    """MOUNT_ATTR_* as the MS_* of mount(2): the lowest four bits are the same."""
    flags = attributes & 0xF
    for attribute, flag in (
        (syscalls.MOUNT_ATTR_NOATIME, 0x400),
        (syscalls.MOUNT_ATTR_NODIRATIME, 0x800),
        (syscalls.MOUNT_ATTR_STRICTATIME, 0x1000000),
        (syscalls.MOUNT_ATTR_NOSYMFOLLOW, 0x100),
    ):
        if attributes & attribute:
            flags |= flag
    return flags


def clear_mask(set_: int, clear: int) -> int:
    """To set an access time mode the whole field must be cleared, or mount_setattr(2) says EINVAL."""
    return clear | syscalls.MOUNT_ATTR__ATIME if (set_ | clear) & syscalls.MOUNT_ATTR__ATIME else clear


def kernel_message(context: int) -> str:
    """What the file system said about its options, as `: text`, or empty."""
    try:
        lines = os.read(context, 1024)
    except OSError:
        return ""
    return ": " + lines.decode("utf-8", "replace").strip().removeprefix("e ")


def plan_mount(
    section: Section, bundle: str, namespaces: NamespacePlan, label: str = ""
) -> FilesystemMount | BindMount | Remount | None:
    """The step for one entry of `mounts`; None for a cgroup mount, which needs the layout of the host's.

    `label`: `linux.mountLabel`. Modules for what few configurations have are imported when one does.
    """
    destination = section.required("destination")
    fstype = section.text("type")
    options = MountOptions(section.texts("options"), section.name, is_bind_type=fstype in ("bind", "rbind"))
    options.recursive = options.recursive or fstype == "rbind"
    ids = None
    if options.idmap or section.has("uidMappings") or section.has("gidMappings"):
        from barque_runtime_native.mounts.idmapped import MountIds

        ids = MountIds(section, options, namespaces)
    if options.remount:
        from barque_runtime_native.mounts.remount import Remount

        return Remount(destination, options)
    if options.bind:
        bind = BindMount(os.path.join(bundle, section.required("source")), destination, options)
        bind.ids = ids
        return bind
    if not fstype:
        raise InvalidArgument(f"{section.path('type')} is missing")
    if fstype in ("cgroup", "cgroup2"):
        return None
    if label:
        from barque_runtime_native.mounts.label import label_option

        options.data += label_option(label, fstype, options.data)
    return FilesystemMount(fstype, section.text("source"), destination, options)
