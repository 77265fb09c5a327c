"""Whether overlayfs works on the file system of the driver's root: by mounting one, not by guessing.

The attempt is made in a child process with a mount namespace of its own, so that nothing of it stays.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress

from barque.spi import Probe, Problem
from barque.spi.errors import BarqueError
from barque.spi.trees import trial
from barque.spi.trees.syscalls import getdents64
from barque_storage_overlay.extras import SnapshotExtras
from barque_storage_overlay.layout import Layout

__all__ = ["probe"]

_D_TYPE_OFFSET = 18  # struct linux_dirent64: ino, off, reclen, then the type
_DT_UNKNOWN = 0


def probe(layout: Layout, extras: SnapshotExtras) -> Probe:
    """See `storage_probe`."""
    problems: list[Problem] = []
    facts = {"driver": "overlay", "root": layout.root, "kernel": platform.release()}
    try:
        facts |= _file_system(layout.root) | extras.facts()
        with layout.scratch() as scratch:
            d_type = _has_d_type(scratch)
            failure = _try_overlay(scratch)
    except (OSError, BarqueError) as error:
        problems.append(
            Problem(f"the storage root {layout.root} cannot be used: {error}", "make it writable")
        )
        return Probe(tuple(problems), facts)
    facts["d_type"] = str(d_type).lower()
    if not d_type:
        problems.append(
            Problem("the file system does not tell file types (d_type)", "use ext4, or xfs made with ftype=1")
        )
    if failure:
        problems.append(Problem(f"overlayfs cannot be mounted: {failure}", _remedy(failure)))
    return Probe(tuple(problems), facts)


def _try_overlay(scratch: str) -> str:
    """Why an overlay in `scratch` does not work, empty when it does. Does not wait for a hung mount."""
    return trial.failure("barque_storage_overlay.trial", scratch)


def _remedy(failure: str) -> str:
    if "No such device" in failure:
        return "load the kernel module: modprobe overlay"
    if "not permitted" in failure or "denied" in failure:
        return "run the daemon as root, or in a user namespace on Linux 5.11 or later"
    return "put the storage root on ext4, xfs, btrfs or tmpfs; overlayfs, NFS and FAT cannot carry it"


def _has_d_type(directory: str) -> bool:
    """True when the entries of `directory` (there are always `.` and `..`) carry a type."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return getdents64(fd)[_D_TYPE_OFFSET] != _DT_UNKNOWN
    finally:
        os.close(fd)


def _file_system(root: str) -> dict[str, str]:
    """Type, free space and free inodes of the file system that holds `root`."""
    status = os.statvfs(root)
    facts = {"free_bytes": str(status.f_bavail * status.f_frsize), "free_inodes": str(status.f_favail)}
    device = os.stat(root).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.split()
            if fields[2] == wanted:
                facts["backing_file_system"] = fields[fields.index("-") + 1]
                break
    return facts
