"""The cgroup mounts of this process, from mountinfo (proc(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["CgroupMount", "cgroup_mounts"]

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class CgroupMount:
    """One mounted hierarchy. `unified`: cgroup v2. `parent_shared`: an unmount would reach other mount namespaces.

    `controllers` are those of a v1 hierarchy. `root` is the cgroup that is mounted at `path`: `/`, or less in a container.
    """

    path: str
    unified: bool
    parent_shared: bool
    controllers: frozenset[str] = frozenset()
    root: str = "/"


def cgroup_mounts() -> list[CgroupMount]:
    """All of them, in the order they were mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.split() for line in file]
    shared = {
        fields[0]
        for fields in lines
        if any(field.startswith("shared:") for field in fields[6 : fields.index("-")])
    }
    found = []
    for fields in lines:
        kind, _, options = (*fields[fields.index("-") + 1 :], "", "")[:3]
        if kind in ("cgroup", "cgroup2"):
            v2 = kind == "cgroup2"
            controllers = frozenset() if v2 else frozenset(options.split(","))
            mount = CgroupMount(
                _unescape(fields[4]), v2, fields[1] in shared, controllers, _unescape(fields[3])
            )
            found.append(mount)
    return found


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
