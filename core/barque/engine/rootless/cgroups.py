"""Where an ordinary user may make cgroups: beside the daemon's own, if that part of version 2 is delegated to him."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["NO_LIMITS", "delegated_parent"]

NO_LIMITS = (
    "containers get no cgroups: this user may make none, so --memory, --cpus and the like are refused"
    " (with cgroup v2 and systemd start the daemon as a service of the user: systemd-run --user barqued)"
)


def delegated_parent(root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup") -> str:
    """The parent of containers' cgroups, as `/user.slice/…/app.slice/barque`; empty where there can be none.

    A process moves between cgroups if its user may write `cgroup.procs` of their common ancestor (cgroups(7),
    "Cgroups delegation: delegating a hierarchy to a less privileged user"): that is the one above the daemon's.
    Version 1 is never delegated.
    """
    if not os.path.exists(f"{root}/cgroup.controllers"):
        return ""
    lines = Path(membership).read_text(errors="surrogateescape").splitlines()
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    above = os.path.dirname(own.rstrip("/")) or "/"
    place = f"{root}{above}".rstrip("/")
    if own == "/" or not all(os.access(path, os.W_OK) for path in (place, f"{place}/cgroup.procs")):
        return ""
    return f"{above.rstrip('/')}/barque"
