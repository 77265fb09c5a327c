"""The freezer's own files: whether a cgroup is frozen, and thawing what a dead runtime left frozen."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from barque.spi.errors import Unavailable
from barque_runtime_runc.cgroups import ContainerCgroups, read_file, read_table

__all__ = ["thaw", "wait_until_frozen"]

_SECONDS = 10.0
_PAUSE = 0.005


def wait_until_frozen(cgroups: ContainerCgroups, id: str) -> None:
    """Return when every process is; crun returns when it has asked for it. Unavailable."""
    deadline = time.monotonic() + _SECONDS
    while not _is_frozen(cgroups):
        if time.monotonic() > deadline:
            raise Unavailable(
                f"container {id} does not freeze in {_SECONDS:g} s", hint="look for processes in state D"
            )
        time.sleep(_PAUSE)


def _is_frozen(cgroups: ContainerCgroups) -> bool:
    if "freezer" in cgroups.v1:
        return read_file(f"{cgroups.v1['freezer']}/freezer.state").strip() == "FROZEN"
    return read_table(f"{cgroups.v2}/cgroup.events").get("frozen") == 1


def thaw(directory: str) -> None:
    """Let the processes of one cgroup directory go on, that they can die. Idempotent; nothing without a freezer."""
    for name, value in (("freezer.state", b"THAWED"), ("cgroup.freeze", b"0")):
        with suppress(FileNotFoundError, PermissionError):
            fd = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.write(fd, value)
            finally:
                os.close(fd)
