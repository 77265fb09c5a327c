"""What a snapshot may have beside its directories: a limit of its size, and owners that are shifted.

Both are symbolic links in the snapshot's directory (metadata, see `snapshots`): `quota` has the project id, `idmap` the mount option.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from barque.spi.storage import SnapshotPrepare
from barque.spi.trees import idmap
from barque_storage_overlay.layout import Layout

if TYPE_CHECKING:
    from barque_storage_overlay.quota import ProjectQuota

__all__ = ["SnapshotExtras"]


class SnapshotExtras:
    """Makes, reads and frees them."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._idmap_works = False

    def make(self, scratch: str, request: SnapshotPrepare) -> None:
        """Add what `request` asks for to the snapshot that is being made in `scratch`, its directories still empty.

        Errors: InvalidArgument, FailedPrecondition, OSError.
        """
        if request.size:
            quota = self._quota()
            id = quota.new_id(request.size)
            try:
                os.symlink(str(id), os.path.join(scratch, "quota"))
            except OSError:
                quota.forget(id)
                raise
            quota.assign(id, (os.path.join(scratch, name) for name in ("upper", "work")))
        if request.idmap:
            os.symlink(self._shift(request), os.path.join(scratch, "idmap"))

    def options(self, directory: str) -> tuple[str, ...]:
        """What the mount options of a snapshot need in addition."""
        shift = _link(directory, "idmap")
        return (shift,) if shift else ()

    def release(self, directory: str) -> None:
        """Free the quota of a snapshot that is going to be removed. Idempotent. Errors: OSError."""
        id = _link(directory, "quota")
        if id.isdecimal():
            self._quota().forget(int(id))

    def facts(self) -> dict[str, str]:
        """For the probe."""
        return {
            "project_quota": self._quota().why_not() or "yes",
            "idmapped_mounts": idmap.why_not(self._layout.snapshots) or "yes",
        }

    def _quota(self) -> ProjectQuota:
        from barque_storage_overlay.quota import ProjectQuota  # seldom: not in every daemon's memory

        return ProjectQuota(self._layout.root)

    def _shift(self, request: SnapshotPrepare) -> str:
        option = idmap.option(request.idmap)
        if not self._idmap_works:
            idmap.require(self._layout.snapshots)
            self._idmap_works = True
        return option


def _link(directory: str, name: str) -> str:
    try:
        return os.readlink(os.path.join(directory, name))
    except FileNotFoundError:
        return ""
