"""Mounts whose owners are shifted (idmapped mounts, mount_setattr(2)): how to ask for one, and whether this host has them.

A driver asks with the option `X-mount.idmap=u:CONTAINER:HOST:SIZE g:…` of mount(8) in a `Mount`. On a bind it is that mount whose
owners are shifted; on an overlay, which the kernel cannot shift, all its layers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque.spi.storage import IdRange
from barque.spi.trees import trial

__all__ = ["option", "require", "why_not"]

_MAX_ID = (1 << 32) - 1
_MAX_OPTION = 4000  # drivers keep it as the target of a symbolic link


def option(ranges: Sequence[IdRange]) -> str:
    """The mount option for `ranges`. Errors: InvalidArgument."""
    for row in ranges:
        fits = min(row.container, row.host) >= 0 and max(row.container, row.host) + row.size <= _MAX_ID
        if row.kind not in ("u", "g", "b") or row.size < 1 or not fits:
            raise InvalidArgument(
                f"idmap: {row} is no range of ids", hint="kind u, g or b; a size of 1 at least"
            )
    text = "X-mount.idmap=" + " ".join(f"{r.kind}:{r.container}:{r.host}:{r.size}" for r in ranges)
    if len(text) > _MAX_OPTION:
        raise InvalidArgument(f"idmap: {len(ranges)} ranges are too many")
    return text


def why_not(directory: str) -> str:
    """Why mounts of the file system of `directory` cannot be shifted; empty when they can. Tried in a process of its own."""
    return trial.failure("barque.spi.trees.idmap_trial", directory)


def require(directory: str) -> None:
    """FailedPrecondition when mounts of the file system of `directory` cannot be shifted."""
    reason = why_not(directory)
    if reason:
        raise FailedPrecondition(
            f"the owners of files in {directory} cannot be mapped: {reason}",
            hint=f"this needs root, Linux 5.19 and ext4, xfs or btrfs; this is Linux {os.uname().release}",
        )
