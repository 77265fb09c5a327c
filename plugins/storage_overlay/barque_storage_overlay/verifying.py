"""Layers on the disk compared with their tars, by workers."""

from __future__ import annotations

import os
from dataclasses import asdict

from barque.spi.errors import NotFound
from barque.spi.storage import LayerApply
from barque.spi.trees import verify, xattrs
from barque.spi.trees.descent import OPEN_DIRECTORY
from barque.spi.trees.pool import WorkerPool
from barque.spi.trees.streaming import stream
from barque_storage_overlay.layers import LayerStore, opened_blob
from barque_storage_overlay.layout import Layout, check_diff_id

__all__ = ["Verifier"]


class Verifier:
    """Verifies layers of `layers`, `workers` at a time, with the limits they were unpacked with."""

    def __init__(
        self,
        layout: Layout,
        layers: LayerStore,
        workers: int,
        idle_seconds: float,
        limits: tuple[int, int],
    ) -> None:
        self._layout = layout
        self._layers = layers
        self._limits = limits
        self._user_namespace = xattrs.in_user_namespace()
        self._pool = WorkerPool(verify.MODULE, workers, idle_seconds, layout.empty)

    def verify(self, request: LayerApply) -> tuple[str, ...]:
        """See `storage_verify`."""
        digest = check_diff_id(request.diff_id)
        try:
            fd = os.open(os.path.join(self._layout.layer(digest), "fs"), OPEN_DIRECTORY)
        except FileNotFoundError:
            raise NotFound(f"no such layer: {request.diff_id}") from None
        try:
            job = verify.Verify(
                diff_id=request.diff_id,
                media_type=request.media_type,
                place=self._layout.root,
                user_namespace=self._user_namespace,
                max_entries=self._limits[0],
                max_bytes=self._limits[1],
                one_owner=self._layers.has_one_owner(digest),
            )
            gathered: list[bytes] = []
            with opened_blob(request.blob) as blob_fd:
                doing = f"verifying {request.diff_id}"
                stream(self._pool, asdict(job), (blob_fd, fd), gathered.append, doing)
        finally:
            os.close(fd)
        return tuple(b"".join(gathered).decode().splitlines())
