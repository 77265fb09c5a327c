"""Facts about this host that do not change while the daemon runs."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from barque.engine.processes import boot_id
from barque.oci.capabilities import bounding_set

__all__ = ["CGROUP_PARENT", "Host", "remove_cgroup_parent"]

CGROUP_PARENT = "/barque"
"""Where containers' cgroups are made, in every hierarchy."""


@dataclass(frozen=True, slots=True)
class Host:
    """`cgroup_v2`: nothing but the unified hierarchy. `bounding`: capabilities the daemon may give."""

    cgroup_v2: bool
    bounding: frozenset[str]
    boot_id: str

    @classmethod
    def look(cls) -> Host:
        """Read them."""
        unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        status = Path("/proc/self/status").read_text()
        return cls(unified, bounding_set(status), boot_id())

    @property
    def cgroup_version(self) -> str:
        """1 (also hybrid) or 2, as Docker says it."""
        return "2" if self.cgroup_v2 else "1"


def remove_cgroup_parent(patience: float = 0.5) -> None:
    """Take `CGROUP_PARENT` away where nothing is in it. Shims that take their containers down at this moment get
    `patience` seconds; what is not empty then stays. Idempotent."""
    deadline = time.monotonic() + patience
    places = [*Path("/sys/fs/cgroup").glob(f"*{CGROUP_PARENT}"), Path(f"/sys/fs/cgroup{CGROUP_PARENT}")]
    for place in places:
        while place.is_dir():
            with contextlib.suppress(OSError):
                place.rmdir()
                break
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
