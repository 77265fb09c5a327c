"""The cgroup directories of a container, and their files, on v1 and v2 (kernel: admin-guide/cgroup-v1, cgroup-v2)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from barque_runtime_runc.mountinfo import CgroupMount, cgroup_mounts

__all__ = ["ContainerCgroups", "find_cgroups", "read_file", "read_number", "read_table"]

_LONGEST = 1 << 20


class ContainerCgroups:
    """Where a container's cgroups are: `v1` by controller, `v2` the one in the unified hierarchy or empty.

    Directories that do not exist are not among them.
    """

    def __init__(self, v1: Mapping[str, str], v2: str) -> None:
        self.v1 = v1
        self.v2 = v2

    def controller(self, name: str) -> str:
        """The directory that has the files of a controller, in whichever hierarchy it is; empty when none has."""
        if name in self.v1:
            return self.v1[name]
        if self.v2 and name in read_file(f"{self.v2}/cgroup.controllers").split():
            return self.v2
        return ""

    def directories(self) -> tuple[str, ...]:
        """All of them, once each."""
        return tuple(dict.fromkeys((*self.v1.values(), *([self.v2] if self.v2 else []))))

    def processes(self) -> tuple[int, ...]:
        """The pids in them and below, ascending."""
        found: set[int] = set()
        for top in self.directories():
            for directory, _, _ in os.walk(top):
                found.update(int(pid) for pid in read_file(f"{directory}/cgroup.procs").split())
        return tuple(sorted(found - {0}))


def find_cgroups(path: str, init: int) -> ContainerCgroups:
    """Those at `path`, which the config names, or (empty: the runtime has chosen) those that process `init` is in."""
    of_init = {} if path else _memberships(init)
    v1: dict[str, str] = {}
    v2 = ""
    for mount in cgroup_mounts():
        directory = _below(mount, path or _membership(mount, of_init))
        if not directory or not os.path.isdir(directory):
            continue
        if mount.unified:
            v2 = directory
        else:
            v1.update(dict.fromkeys(mount.controllers, directory))
    return ContainerCgroups(v1, v2)


def read_file(path: str) -> str:
    """The content of a cgroup file; empty when this kernel, or this cgroup, has none of that name."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    with open(fd, encoding="utf-8", errors="replace") as file:
        try:
            return file.read(_LONGEST)
        except OSError:
            return ""  # the cgroup was removed, or the controller has nothing to tell


def read_number(path: str) -> int:
    """The number in a file, 0 when there is none: no file, or `max`."""
    text = read_file(path).strip()
    return int(text) if text.isascii() and text.isdigit() else 0


def read_table(path: str) -> dict[str, int]:
    """A flat keyed file: `name number` in each line."""
    table = {}
    for line in read_file(path).splitlines():
        name, _, value = line.partition(" ")
        with suppress(ValueError):
            table[name] = int(value)
    return table


def _memberships(pid: int) -> dict[str, str]:
    """The third column of /proc/PID/cgroup by each name in the second (cgroups(7)); `` is v2's."""
    found = {}
    for line in read_file(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _membership(mount: CgroupMount, of_init: Mapping[str, str]) -> str:
    names = ("",) if mount.unified else mount.controllers
    return next((of_init[name] for name in names if name in of_init), "")


def _below(mount: CgroupMount, path: str) -> str:
    """The directory of cgroup `path` in a mount; empty for the root cgroup and for what the mount does not show."""
    root = mount.root.rstrip("/")
    if ".." in path.split("/") or not path.startswith(f"{root}/"):
        return ""
    relative = path.removeprefix(root).strip("/")
    return f"{mount.path}/{relative}" if relative else ""
