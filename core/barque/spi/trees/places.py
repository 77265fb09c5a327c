"""A storage driver's directories, in which everything appears and disappears by one rename.

layers/<hex>/     layers (see `layerstore`)      snapshots/<key>/  snapshots, what is in them is the driver's own
tmp/              what is being made             trash/            what is being deleted
empty/            the root of worker processes

    with places.scratch() as scratch:                       # tmp/…, in the trash unless it was renamed
        ... fill scratch ...
        places.publish_snapshot(scratch, "c1")
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from barque.spi.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from barque.spi.trees.failures import disk_error, reported
from barque.spi.trees.header import show
from barque.spi.trees.syscalls import syncfs
from barque.spi.trees.trash import Trash

__all__ = ["Places", "check_diff_id", "check_key"]

_DIFF_ID = re.compile(r"sha256:([0-9a-f]{64})")
_KEY = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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


class Places:
    """The directories below `root`, made when they are missing. Errors: FailedPrecondition. Thread-safe."""

    def __init__(self, root: str) -> None:
        if not os.path.isabs(root):
            raise FailedPrecondition(
                f"storage cannot live in {show(os.fsencode(root))}", hint="give an absolute path"
            )
        self.root = root
        self.layers = os.path.join(root, "layers")
        self.snapshots = os.path.join(root, "snapshots")
        self.tmp = os.path.join(root, "tmp")
        self.empty = os.path.join(root, "empty")
        self._lock = threading.Lock()
        self._token = secrets.token_hex(6)
        self._numbers = count()
        self._owned: set[str] = set()
        with reported("making the directories of the storage driver", root):
            for directory in (
                root, self.layers, self.snapshots, self.tmp, self.empty, os.path.join(root, "trash"),
            ):  # fmt: skip
                os.makedirs(directory, mode=0o700, exist_ok=True)
        self.trash = Trash(root)

    def layer(self, digest: str) -> str:
        """The directory of the layer whose diff id has these hex digits."""
        return os.path.join(self.layers, digest)

    def snapshot(self, key: str) -> str:
        """The directory of a snapshot, there or not. Errors: InvalidArgument."""
        return os.path.join(self.snapshots, check_key(key))

    def existing_snapshot(self, key: str) -> str:
        """The directory of a snapshot. Errors: InvalidArgument, NotFound."""
        path = self.snapshot(key)
        if not os.path.isdir(path):
            raise NotFound(f"no such snapshot: {key}")
        return path

    def keys(self) -> tuple[str, ...]:
        """All snapshots."""
        return tuple(sorted(os.listdir(self.snapshots)))

    @contextmanager
    def scratch(self) -> Iterator[str]:
        """A new directory in tmp/ for the call in flight, which renames it to its place; else it goes to the trash."""
        name = f"{self._token}-{next(self._numbers)}"
        path = os.path.join(self.tmp, name)
        with self._lock:
            self._owned.add(name)
        try:
            os.mkdir(path, 0o700)
            yield path
        finally:
            try:
                self.trash.take(path)
            finally:
                with self._lock:
                    self._owned.discard(name)

    def publish_layer(self, scratch: str, digest: str) -> None:
        """Sync, rename, sync the name: one syncfs(2) is cheaper than an fsync for each of thousands of files."""
        fd = os.open(self.layers, _OPEN_DIRECTORY)
        try:
            syncfs(fd)
            os.rename(scratch, self.layer(digest))
            os.fsync(fd)
        finally:
            os.close(fd)

    def publish_snapshot(self, scratch: str, key: str) -> None:
        """Give the snapshot its name. What is in it must be on the disk already. Errors: AlreadyExists, ResourceExhausted."""
        try:
            os.rename(scratch, self.snapshot(key))
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise AlreadyExists(f"snapshot {key} exists already") from None
            raise disk_error(error, f"preparing snapshot {key}", self.root) from error

    def remove_snapshot(self, key: str) -> None:
        """See `storage_remove`."""
        path = self.snapshot(key)
        with reported(f"removing snapshot {key}", self.root):
            self.trash.take(path)

    def leftovers(self) -> list[str]:
        """Paths in tmp/ that no call in flight owns."""
        with self._lock:
            return [os.path.join(self.tmp, name) for name in os.listdir(self.tmp) if name not in self._owned]

    def sweep(self) -> None:
        """Delete, in the background, what a crash left and no call in flight owns."""
        for leftover in self.leftovers():
            self.trash.take(leftover)
        self.trash.empty()
