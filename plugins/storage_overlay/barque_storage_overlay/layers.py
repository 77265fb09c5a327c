"""Layers on the disk, and their short names."""

from __future__ import annotations

import os
from contextlib import suppress

from barque.spi.errors import NotFound
from barque.spi.trees import xattrs
from barque.spi.trees.failures import reported
from barque.spi.trees.layerstore import LayerStore, Unpacking
from barque_storage_overlay.layout import Layout

__all__ = ["OverlayLayers"]


class OverlayLayers(LayerStore):
    """Layers with a link each in `layout.links`: mount options have one page."""

    def __init__(self, layout: Layout, unpacking: Unpacking) -> None:
        super().__init__(layout, unpacking)
        self._layout = layout
        self._opaque = xattrs.opaque_attribute(xattrs.in_user_namespace())

    def published(self, digest: str) -> None:
        """See `LayerStore`."""
        self.link(digest)

    def removing(self, digest: str) -> None:
        """See `LayerStore`. The short name goes first: a link is never left without its layer."""
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self._layout.links, self._layout.short(digest)))

    def link(self, digest: str) -> str:
        """The short name of the layer's directory, made again when it got lost. Errors: NotFound."""
        short = self._layout.short(digest)
        path = os.path.join(self._layout.links, short)
        if os.path.isdir(path):
            return short
        if not os.path.isdir(self._layout.layer(digest)):
            raise NotFound(f"no such layer: sha256:{digest}", hint="pull the image again")
        with reported("naming a layer", self._layout.root), suppress(FileExistsError):
            os.symlink(f"../layers/{digest}/fs", path)
        return short

    def hides_lower(self, short: str) -> bool:
        """True when the layer's root itself is opaque. overlayfs does not look for that mark on a lower root."""
        try:
            return os.getxattr(os.path.join(self._layout.links, short).encode(), self._opaque) == b"y"
        except OSError:
            return False
