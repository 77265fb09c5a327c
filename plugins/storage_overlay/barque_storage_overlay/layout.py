"""Where the driver keeps what, below its root.

layers/<hex>/fs/            the unpacked layer         layers/<hex>/layer.json   its usage
l/<26 letters> -> ../layers/<hex>/fs                   short names for mount options
snapshots/<key>/upper work  what a container wrote     snapshots/<key>/lower     its layers (a symlink, see snapshots.py)
tmp/                        what is being made         trash/                    what is being deleted
empty/                      a lower directory for images without layers, and the workers' root
"""

from __future__ import annotations

import base64
import os

from barque.spi.errors import FailedPrecondition
from barque.spi.trees.failures import reported
from barque.spi.trees.header import show
from barque.spi.trees.places import Places

__all__ = ["Layout"]

_UNMOUNTABLE = frozenset(":,\\")


class Layout(Places):
    """Paths below `root`, whose directories are made when they are missing. Errors: FailedPrecondition."""

    def __init__(self, root: str) -> None:
        if _UNMOUNTABLE & set(root):
            raise FailedPrecondition(
                f"overlay storage cannot live in {show(os.fsencode(root))}",
                hint="the path must be without ':', ',' and '\\', which separate overlayfs options",
            )
        super().__init__(root)
        self.links = os.path.join(root, "l")
        with reported("making the directories of overlay storage", root):
            os.makedirs(self.links, mode=0o700, exist_ok=True)

    @staticmethod
    def short(digest: str) -> str:
        """The short name of a layer, 26 letters and digits of its diff id: the same at each start, so that a
        lost link can be made again."""
        return base64.b32encode(bytes.fromhex(digest[:32])).decode("ascii").rstrip("=")
