"""The cgroup mounts of this process, from mountinfo (proc(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["CgroupMount", "cgroup_mounts"]

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class CgroupMount:
    """One mounted hierarchy. `unified`: cgroup v2. `parent_shared`: an unmount would reach other mount namespaces."""

    path: str
    unified: bool
    parent_shared: bool


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
        kind = fields[fields.index("-") + 1]
        if kind in ("cgroup", "cgroup2"):
            path = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4])
            found.append(CgroupMount(path, kind == "cgroup2", fields[1] in shared))
    return found
