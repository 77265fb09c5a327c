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
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque.spi.trees.failures import reported
from barque.spi.trees.header import show

__all__ = ["Layout", "check_diff_id", "check_key"]

_DIFF_ID = re.compile(r"sha256:([0-9a-f]{64})")
_KEY = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_UNMOUNTABLE = frozenset(":,\\")


def check_diff_id(diff_id: str) -> str:
    """The hex digits of a diff id. Errors: InvalidArgument."""
    match = _DIFF_ID.fullmatch(diff_id)
    if not match:
        raise InvalidArgument(
            f"invalid diff id {show(diff_id.encode(errors='replace'))}",
            hint="sha256:<64 lower-case hex digits>",
        )
    return match[1]


def check_key(key: str) -> str:
    """A snapshot's key, itself. Errors: InvalidArgument."""
    if not _KEY.fullmatch(key):
        raise InvalidArgument(
            f"invalid snapshot key {show(key.encode(errors='replace'))}",
            hint="letters, digits, _ . and -, 128 at most",
        )
    return key


class Layout:
    """Paths below `root`, whose directories are made when they are missing. Errors: FailedPrecondition."""

    def __init__(self, root: str) -> None:
        if not os.path.isabs(root) or _UNMOUNTABLE & set(root):
            raise FailedPrecondition(
                f"overlay storage cannot live in {show(os.fsencode(root))}",
                hint="the path must be absolute and without ':', ',' and '\\', which separate overlayfs options",
            )
        self.root = root
        self.layers = os.path.join(root, "layers")
        self.links = os.path.join(root, "l")
        self.snapshots = os.path.join(root, "snapshots")
        self.tmp = os.path.join(root, "tmp")
        self.empty = os.path.join(root, "empty")
        self._lock = threading.Lock()
        self._token = secrets.token_hex(6)
        self._numbers = count()
        self._owned: set[str] = set()
        directories = (
            self.layers,
            self.links,
            self.snapshots,
            self.tmp,
            self.empty,
            os.path.join(root, "trash"),
        )
        with reported("making the directories of overlay storage", root):
            for directory in (root, *directories):
                os.makedirs(directory, mode=0o700, exist_ok=True)

    def layer(self, digest: str) -> str:
        """The directory of the layer whose diff id has these hex digits."""
        return os.path.join(self.layers, digest)

    def snapshot(self, key: str) -> str:
        """The directory of a snapshot."""
        return os.path.join(self.snapshots, key)

    @staticmethod
    def short(digest: str) -> str:
        """The short name of a layer, 26 letters and digits of its diff id: the same at each start, so that a
        lost link can be made again."""
        return base64.b32encode(bytes.fromhex(digest[:32])).decode("ascii").rstrip("=")

    @contextmanager
    def scratch(self) -> Iterator[str]:
        """A new directory in tmp/ that belongs to the call in flight, which renames it to its place or into the trash."""
        name = f"{self._token}-{next(self._numbers)}"
        with self._lock:
            self._owned.add(name)
        try:
            path = os.path.join(self.tmp, name)
            os.mkdir(path, 0o700)
            yield path
        finally:
            with self._lock:
                self._owned.discard(name)

    def leftovers(self) -> list[str]:
        """Paths in tmp/ that no call in flight owns."""
        with self._lock:
            return [os.path.join(self.tmp, name) for name in os.listdir(self.tmp) if name not in self._owned]
