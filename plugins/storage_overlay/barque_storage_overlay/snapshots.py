"""Snapshots: an upper and a work directory of overlayfs, and the layers below.

Making one is on the way of every `docker run`: two directories, a link and a rename, and no fsync. What is relied on
for a power cut: a journaling file system commits these metadata operations, in order, no later than the fsync of
whatever the engine writes afterwards (its own record of the container, in the same file system). File *data* has
no such order, so the list of layers is the target of a symbolic link (`lower`), which is metadata, and not a file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from barque.spi.common import Mount
from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.storage import SnapshotPrepare, Usage
from barque.spi.trees import tree, xattrs
from barque.spi.trees.failures import reported
from barque.spi.trees.places import check_diff_id, check_key
from barque_storage_overlay.extras import SnapshotExtras
from barque_storage_overlay.layers import OverlayLayers
from barque_storage_overlay.layout import Layout
from barque_storage_overlay.options import mount_options

__all__ = ["MAX_LAYERS", "SnapshotStore"]

MAX_LAYERS = 125  # Docker's; with relative paths the options of so many fit the page that mount(2) takes
_EMPTY = "empty"


class SnapshotStore:
    """The snapshots below `layout.snapshots`. One that has its name is complete: it got it by a rename."""

    def __init__(self, layout: Layout, layers: OverlayLayers, extras: SnapshotExtras) -> None:
        self._layout = layout
        self._extras = extras
        self._layers = layers
        self._extra = mount_options(user_namespace=xattrs.in_user_namespace())

    def prepare(self, request: SnapshotPrepare) -> None:
        """See `storage_prepare`."""
        layers = request.layers
        check_key(request.key)
        if len(layers) > MAX_LAYERS:
            raise InvalidArgument(f"max depth exceeded: {len(layers)} layers, {MAX_LAYERS} at most")
        lower = self._lower(layers)
        with reported(f"preparing snapshot {request.key}", self._layout.root):
            self._make(request, lower)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """See `storage_mounts`. All paths have the driver's root in common: a mounter whose options would not fit a page
        changes its directory there and strips that prefix."""
        directory = self._layout.snapshot(key)
        try:
            lower = os.readlink(os.path.join(directory, "lower"))
        except FileNotFoundError:
            raise NotFound(f"no such snapshot: {key}") from None
        root = self._layout.root
        options = (
            "lowerdir=" + ":".join(f"{root}/{name}" for name in lower.split(":")),
            f"upperdir={directory}/upper",
            f"workdir={directory}/work",
            *self._extra,
            *self._extras.options(directory),
        )
        return (Mount("overlay", "overlay", options),)

    def usage(self, key: str) -> Usage:
        """See `storage_usage`; walks the upper directory."""
        try:
            return tree.measure(os.path.join(self._layout.snapshot(key), "upper"))
        except FileNotFoundError:
            raise NotFound(f"no such snapshot: {key}") from None

    def remove(self, key: str) -> None:
        """See `storage_remove`."""
        directory = self._layout.snapshot(key)
        with reported(f"removing snapshot {key}", self._layout.root):
            self._extras.release(directory)
            self._layout.remove_snapshot(key)

    def _lower(self, layers: Sequence[str]) -> str:
        """The layers as overlayfs wants them, top first, relative to the root. Of a layer that occurs twice the upper
        one counts: it hides all the lower one had, and the kernel refuses a directory given twice. Below a layer whose
        root is opaque nothing shows."""
        digests = dict.fromkeys(check_diff_id(layer) for layer in reversed(layers))
        names = [self._layers.link(digest) for digest in digests]
        visible = next((count for count, name in enumerate(names, 1) if self._layers.hides_lower(name)), None)
        return ":".join(f"l/{name}" for name in names[:visible]) or _EMPTY

    def _as_root(self, upper: str, lower: str) -> None:
        """Give `upper`, which is `/` of the container, the owner and mode of the topmost layer that says something of it: most
        layers do not, and have the ones that a layer begins with."""
        plain = (os.geteuid(), os.getegid(), 0o755)
        for name in lower.split(":"):
            status = os.stat(f"{self._layout.root}/{name}")
            owner_and_mode = (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
            if owner_and_mode != plain and name != _EMPTY:
                os.chown(upper, status.st_uid, status.st_gid)
                break
        else:
            owner_and_mode = plain
        os.chmod(upper, owner_and_mode[2])  # whatever the daemon's umask

    def _make(self, request: SnapshotPrepare, lower: str) -> None:
        with self._layout.scratch() as scratch:
            try:
                upper = os.path.join(scratch, "upper")
                os.mkdir(upper)
                self._as_root(upper, lower)
                os.mkdir(os.path.join(scratch, "work"), 0o700)
                os.symlink(lower, os.path.join(scratch, "lower"))
                if request.size or request.idmap:
                    self._extras.make(scratch, request)
                self._layout.publish_snapshot(scratch, request.key)
            except BaseException:
                self._extras.release(scratch)
                raise
