"""What the daemon says to workers: the names of the job modules and their jobs. It imports none of those modules, with their decompressors."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OVERLAY", "UNPACK", "VERIFY", "Unpack"]

UNPACK = "barque.spi.trees.unpack"
VERIFY = "barque.spi.trees.verify"
OVERLAY = "overlay"


@dataclass(frozen=True, slots=True)
class Unpack:
    """One layer to unpack, or to verify. `place` is what error messages call the file system; `user_namespace`: overlayfs will be
    mounted in one, and reads `user.overlay.*`; `one_owner`: everything belongs to this process's user, whatever the layer says;
    `whiteouts`: how deletions are kept, see `whiteouts`."""

    diff_id: str
    media_type: str
    place: str
    user_namespace: bool
    max_entries: int
    max_bytes: int
    one_owner: bool = False
    whiteouts: str = OVERLAY
