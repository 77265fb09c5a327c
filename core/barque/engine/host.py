"""Facts about this host that do not change while the daemon runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from barque.engine.processes import boot_id
from barque.oci.capabilities import bounding_set

__all__ = ["Host"]


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
