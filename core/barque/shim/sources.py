"""What bind mounts of a container are taken from, where that is no plain path of the host: see `ShimConfig.sources`.

Made in the mount namespace that only the container's processes keep, so that it ends with them, and nothing of it is seen on the host.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from barque.shim import kernel
from barque.shim.mounts import mount_all
from barque.spi.common import Mount
from barque.spi.errors import FailedPrecondition

__all__ = ["attach_sources", "take_shared"]

_CLONE = kernel.OPEN_TREE_CLONE | kernel.OPEN_TREE_CLOEXEC | kernel.AT_RECURSIVE


def take_shared(sources: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Before the namespace is left whose mounts tell one another: copies of those that shall go on doing so."""
    try:
        return [(s["place"], kernel.open_tree(s["root"], _CLONE)) for s in sources if s.get("shared")]
    except OSError as error:
        raise FailedPrecondition(f"sharing mounts below {error.filename}: {error.strerror}") from error


def attach_sources(sources: Sequence[Mapping[str, Any]], shared: Sequence[tuple[str, int]]) -> None:
    """In the container's own namespace: have all sources at their places. Errors: FailedPrecondition, those of `mount_all`."""
    for place, tree in shared:
        kernel.move_mount(tree, place)
        os.close(tree)
    for source in sources:
        if "mounts" in source:
            os.mkdir(source["place"], 0o700)
            mount_all(source["place"], [_mount(part) for part in source["mounts"]])
        elif not source.get("shared"):
            _attach_part(source["place"], source["root"], source["subpath"])


def _mount(part: Mapping[str, Any]) -> Mount:
    return Mount(part["type"], part["source"], tuple(part["options"]), part["target"])


def _attach_part(place: str, root: str, subpath: str) -> None:
    """A directory or file below `root`, by descriptor from its first look on: nobody can lead us out by a link."""
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        part = kernel.openat2_in_root(root_fd, subpath, os.O_PATH)
    except OSError as error:
        raise FailedPrecondition(
            f"cannot access path {root}/{subpath}: {(error.strerror or '').lower()}"
        ) from error
    finally:
        os.close(root_fd)
    try:
        if stat.S_ISDIR(os.fstat(part).st_mode):
            os.mkdir(place, 0o700)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        tree = kernel.open_tree(f"/proc/self/fd/{part}", _CLONE)
        try:
            kernel.move_mount(tree, place)
        finally:
            os.close(tree)
    finally:
        os.close(part)
