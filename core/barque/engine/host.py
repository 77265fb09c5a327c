"""Facts about this host that do not change while the daemon runs."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from barque.engine.processes import boot_id
from barque.engine.rootless.cgroups import NO_LIMITS, delegated_parent
from barque.oci.capabilities import bounding_set

__all__ = ["CDI_DIRECTORIES", "CGROUP_PARENT", "Host", "remove_cgroup_parent"]

_log = logging.getLogger(__name__)
_NO_CGROUPS = (
    "no cgroup hierarchy is mounted on /sys/fs/cgroup, and no container can start without"
    " (`ip netns exec` hides it from what it starts: mount it again there)"
)
_MOST_GIDS = 1 << 31  # net.ipv4.ping_group_range takes no more
CGROUP_PARENT = "/barque"
"""Where containers' cgroups are made, in every hierarchy."""
CDI_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
"""Where vendors describe their devices (`barque.oci.cdi`); the last one counts most."""


@dataclass(frozen=True, slots=True)
class Host:
    """`cgroup_v2`: nothing but the unified hierarchy. `bounding`: capabilities the daemon may give. `rootless`: it is
    root in its user's namespaces only. `cgroup_parent`: where containers' cgroups are made, empty where there can be
    none. `last_gid`: the groups from 0 to this one exist. `warnings`: what is lacking, for `info`. `cdi_directories`:
    descriptions of devices."""

    cgroup_v2: bool
    bounding: frozenset[str]
    boot_id: str
    rootless: bool = False
    cgroup_parent: str = CGROUP_PARENT
    last_gid: int = _MOST_GIDS - 1
    warnings: tuple[str, ...] = ()
    cdi_directories: tuple[str, ...] = CDI_DIRECTORIES

    @classmethod
    def look(
        cls, *, rootless: bool = False, warnings: tuple[str, ...] = (), cdi_directories: tuple[str, ...] = ()
    ) -> Host:
        """Read them; what only the caller knows is given."""
        unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        status = Path("/proc/self/status").read_text()
        parent = delegated_parent() if rootless else CGROUP_PARENT
        warnings = warnings if parent else (*warnings, NO_LIMITS)
        if not rootless and not _has_cgroups():
            _log.warning("%s", _NO_CGROUPS)
            warnings = (*warnings, _NO_CGROUPS)
        directories = cdi_directories or CDI_DIRECTORIES
        return cls(
            unified, bounding_set(status), boot_id(), rootless, parent, _last_gid(), warnings, directories
        )

    def cgroups_path(self, parent: str, id: str) -> str:
        """The cgroup of a container, below `parent` if its configuration names one; empty for none."""
        chosen = parent or self.cgroup_parent
        return f"/{chosen.strip('/')}/{id}" if chosen else ""

    @property
    def cgroup_version(self) -> str:
        """1 (also hybrid) or 2, as Docker says it."""
        return "2" if self.cgroup_v2 else "1"


def _has_cgroups(root: str = "/sys/fs/cgroup") -> bool:
    """Whether any hierarchy is mounted where they all are."""
    try:
        return any(Path(root).iterdir())
    except OSError:
        return False


def _last_gid() -> int:
    """The end of the range of mapped groups that begins with 0 (user_namespaces(7))."""
    lines = [line.split() for line in Path("/proc/self/gid_map").read_text().splitlines()]
    end = 0
    for first, count in sorted((int(words[0]), int(words[2])) for words in lines):
        end = max(end, first + count) if first <= end else end
    return min(end, _MOST_GIDS) - 1


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
