"""Which cgroup hierarchies are mounted here: v1, v2 or both (cgroups(7))."""

from __future__ import annotations

import os

from barque.spi.errors import FailedPrecondition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container


class Hierarchy:
    """One mounted hierarchy. `controllers` is empty for v2 and for a named v1 hierarchy, which has a `label`."""

    __slots__ = ("controllers", "label", "mountpoint", "name", "own", "v2")

    def __init__(self, key: str, mountpoint: str, own: str, v2: bool) -> None:
        names = key.split(",") if key else []
        controllers = tuple(name for name in names if not name.startswith("name="))
        self.label = next((name[5:] for name in names if name.startswith("name=")), "")
        self.name = os.path.basename(mountpoint)
        self.mountpoint = mountpoint
        self.own = own
        self.controllers = controllers
        self.v2 = v2

    def directory(self, path: str) -> str:
        """Where cgroup `path` is: absolute from the hierarchy's mount, relative from this process's own cgroup."""
        return (
            f"{self.mountpoint}{path}"
            if path.startswith("/")
            else os.path.join(self.mountpoint + self.own, path)
        )


class Layout:
    """The hierarchies. `unified` is true on a pure v2 host; a v2 mount beside v1 ones (hybrid) has no controllers."""

    __slots__ = ("hierarchies", "rootless", "unified")

    def __init__(self, hierarchies: list[Hierarchy]) -> None:
        self.rootless = False
        self.unified = bool(hierarchies) and all(hierarchy.v2 for hierarchy in hierarchies)
        self.hierarchies = hierarchies if self.unified else [each for each in hierarchies if not each.v2]
        if not hierarchies:
            raise FailedPrecondition("no cgroup hierarchy is mounted", hint="mount cgroup2 on /sys/fs/cgroup")

    def only(self, names: Container[str]) -> Layout:
        """The hierarchies of these names, for a user who may not use the others; perhaps none."""
        layout = Layout(self.hierarchies)
        layout.hierarchies = [each for each in self.hierarchies if each.name in names]
        layout.rootless = True
        return layout

    def directories(self, cgroups: list[str]) -> dict[str, str]:
        """A container's cgroups by controller; on v2 all in one, which has the name ""."""
        if self.unified:
            return {"": cgroups[0]} if cgroups else {}
        return {
            controller: directory
            for directory in cgroups
            for each in self.hierarchies
            if directory.startswith(each.mountpoint + "/")
            for controller in each.controllers
        }

    def of(self, controller: str) -> Hierarchy | None:
        """The v1 hierarchy of `controller`."""
        for hierarchy in self.hierarchies:
            if controller in hierarchy.controllers:
                return hierarchy
        return None


def read_layout(mountinfo: str, own_cgroups: str) -> Layout:
    """The layout in the texts of /proc/self/mountinfo and /proc/self/cgroup."""
    paths = dict(line.split(":", 2)[1:] for line in own_cgroups.splitlines() if line.count(":") >= 2)
    hierarchies: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        if " - cgroup" not in line:
            continue
        left, _, right = line.partition(" - ")
        fields, (fstype, _, options) = left.split(" "), right.split(" ", 2)
        root, mountpoint = unescape(fields[3]), unescape(fields[4])
        key = "" if fstype == "cgroup2" else v1_key(options, paths)
        if key is not None and key in paths and key not in hierarchies and fstype in ("cgroup", "cgroup2"):
            hierarchies[key] = Hierarchy(key, mountpoint, below(paths[key], root), fstype == "cgroup2")
    return Layout(list(hierarchies.values()))


def v1_key(options: str, paths: dict[str, str]) -> str | None:
    """The hierarchy's name in /proc/self/cgroup, from the superblock options of its mount."""
    words = set(options.split(","))
    return next((key for key in paths if key and words.issuperset(key.split(","))), None)


def below(path: str, root: str) -> str:
    """`path` seen from a mount whose root is `root`: in a container without a cgroup namespace that is not `/`."""
    if root == "/" or not path.startswith(root):
        return "" if path == "/" else path
    return path[len(root) :].rstrip("/")


def unescape(text: str) -> str:
    """mountinfo writes space, tab, newline and backslash as three octal digits."""
    if "\\" not in text:
        return text
    for code in ("040", "011", "012", "134"):
        text = text.replace("\\" + code, chr(int(code, 8)))
    return text


_layout: Layout | None = None


def current_layout() -> Layout:
    """The layout of this host, read once a process."""
    global _layout
    if _layout is None:
        _layout = read_layout(read_text("/proc/self/mountinfo"), read_text("/proc/self/cgroup"))
    return _layout


def read_text(path: str) -> str:
    """The whole of a kernel file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
    finally:
        os.close(fd)
    return os.fsdecode(b"".join(parts))
