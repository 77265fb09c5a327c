"""Device nodes and links below /dev (runtime-spec "Default Devices", "Dev symbolic links")."""

from __future__ import annotations

import os
import stat

from barque.spi.errors import InvalidArgument
from barque_runtime_native.kernel import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.mounts.rootfs import Root
    from barque_runtime_native.spec import Section

TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
# path, major, minor; every one mode 0666
DEFAULT = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)
LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)
CORE_LINK = ("/dev/core", "/proc/kcore")


class DeviceNode:
    """One device node or FIFO. In a user namespace, where mknod(2) is denied, the host's node of that path is bound."""

    def __init__(self, path: str, kind: str, device: int, mode: int, uid: int = 0, gid: int = 0) -> None:
        self.path = path
        self.kind = kind
        self.device = device
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.bind = False
        self.there_already = False

    def describe(self) -> str:
        """One line for people."""
        return f"device {self.path} {self.kind} {os.major(self.device)}:{os.minor(self.device)}"

    def execute(self, root: Root) -> None:
        """Make it; one that is there already must be the same device."""
        if self.there_already:
            self._find(root)
            return
        if self.bind and self.kind != "p":
            self._bind(root)
            return
        directory, name = os.path.split(self.path)
        parent = root.directory(directory)
        try:
            try:
                os.mknod(name, TYPES[self.kind] | self.mode, self.device, dir_fd=parent)
            except FileExistsError:
                self._check(os.stat(name, dir_fd=parent, follow_symlinks=False), "in the image")
            except PermissionError:
                # in an outer user namespace, or not by the container's device cgroup
                if self.kind == "p":
                    raise
                self._bind(root)
            else:
                if self.uid or self.gid:
                    os.chown(name, self.uid, self.gid, dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)

    def _find(self, root: Root) -> None:
        try:
            found = root.open(self.path)
        except FileNotFoundError:
            raise InvalidArgument(
                f"linux.devices: {self.path} does not exist, and /dev is a bind mount, in which nothing is made",
                hint="make it on the host, or mount a tmpfs on /dev",
            ) from None
        try:
            self._check(os.fstat(found), "on the host")
        finally:
            os.close(found)

    def _check(self, found: os.stat_result, where: str) -> None:
        same = self.kind == "p" or found.st_rdev == self.device
        if stat.S_IFMT(found.st_mode) != TYPES[self.kind] or not same:
            raise InvalidArgument(
                f"{self.path} exists {where} and is another file than linux.devices asks for",
                hint="mount a tmpfs on /dev, or remove the file",
            )

    def _bind(self, root: Root) -> None:
        tree = syscalls.open_tree(syscalls.AT_FDCWD, self.path, syscalls.OPEN_TREE_CLONE)
        try:
            self._check(os.fstat(tree), "on the host")
            target = root.file(self.path)
            try:
                syscalls.move_mount(tree, target)
            finally:
                os.close(target)
        finally:
            os.close(tree)


class DeviceLink:
    """A symbolic link below /dev; a file of that name in its place is replaced."""

    def __init__(self, path: str, target: str) -> None:
        self.path = path
        self.target = target

    def describe(self) -> str:
        """One line for people."""
        return f"link {self.path} to {self.target}"

    def execute(self, root: Root) -> None:
        """Make it."""
        directory, name = os.path.split(self.path)
        parent = root.directory(directory)
        try:
            try:
                os.symlink(self.target, name, dir_fd=parent)
            except FileExistsError:
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if stat.S_ISLNK(found.st_mode) and os.readlink(name, dir_fd=parent) == self.target:
                    return
                os.unlink(name, dir_fd=parent)
                os.symlink(self.target, name, dir_fd=parent)
        finally:
            os.close(parent)


def plan_devices(linux: Section, *, defaults: bool, bind: bool) -> list[DeviceNode | DeviceLink]:
    """Nodes of `linux.devices`, the default ones they do not replace, and the links.

    `defaults` is false when /dev is a bind mount: the host's /dev is not ours to change, so what is asked for below it
    must be there.
    """
    nodes = {node.path: node for node in map(read_device, linux.sections("devices"))}
    links: list[DeviceNode | DeviceLink] = []
    if defaults:
        for path, major, minor in DEFAULT:
            nodes.setdefault(path, DeviceNode(path, "c", os.makedev(major, minor), 0o666))
        links.extend(DeviceLink(path, target) for path, target in LINKS if path not in nodes)
        if os.path.exists(CORE_LINK[1]):
            links.append(DeviceLink(*CORE_LINK))
    for node in nodes.values():
        node.bind = bind
        node.there_already = not defaults and node.path.startswith("/dev/")
    return [*nodes.values(), *links]


def read_device(section: Section) -> DeviceNode:
    """One entry of `linux.devices`."""
    path = os.path.normpath("/" + section.required("path").lstrip("/"))
    kind = section.required("type")
    if kind not in TYPES:
        raise InvalidArgument(f"{section.path('type')}: {kind!r} is none of c, u, b, p")
    major, minor = section.integer("major", 0, 0xFFF), section.integer("minor", 0, 0xFFFFF)
    if kind != "p" and (major is None or minor is None):
        raise InvalidArgument(f"{section.name}: {path} needs major and minor")
    mode = section.integer("fileMode", 0, 0o177777)
    if mode is not None and stat.S_IFMT(mode) not in (0, TYPES[kind]):
        raise InvalidArgument(
            f"{section.path('fileMode')}: {mode:#o} is the mode of another type than {kind!r}"
        )
    return DeviceNode(
        path,
        kind,
        os.makedev(major or 0, minor or 0) if kind != "p" else 0,
        0o666 if mode is None else mode & 0o7777,
        section.integer("uid", 0, 2**32 - 2) or 0,
        section.integer("gid", 0, 2**32 - 2) or 0,
    )
