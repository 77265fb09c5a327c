"""`docker import`: an image of one layer from a tar, plain or compressed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain
from typing import Any

from barque.engine.core import Core
from barque.engine.imagenames import familiar
from barque.engine.images import StoredLayer
from barque.engine.pulling import host_platform
from barque.oci.changes import apply_changes
from barque.oci.reference import parse_reference
from barque.spi.common import Descriptor, Platform, Progress, ProgressSink
from barque.spi.content import Image, ImportRequest
from barque.spi.errors import InvalidArgument, ResourceExhausted
from barque.spi.image import ResolvedImage
from barque.spi.storage import LayerApply
from barque.spi.trees.failures import reported

__all__ = ["Importer"]

_INFLATE = "barque.spi.trees.inflate"  # not imported: it loads all decompressors, which the worker alone needs
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_KEPT = {"plain": _LAYER, "gzip": f"{_LAYER}+gzip", "zstd": f"{_LAYER}+zstd"}
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"))
_LONGEST_MAGIC = 6
_TOLD = 4 << 20


@dataclass(frozen=True, slots=True)
class _Layer:
    """The layer's blob, and the digest of its uncompressed tar."""

    descriptor: Descriptor
    diff_id: str


class Importer:
    """Brings tars in as images. Decompression is done by worker processes, never by a program from somewhere."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def run(self, request: ImportRequest, progress: ProgressSink) -> Image:
        """See `ContentOperations.image_import`. All or nothing: what a full disk or a broken tar leaves is given back."""
        names = _names(request)
        run_config = apply_changes({}, request.changes)
        images = self._core.images
        with images.leased(()) as lease:
            try:
                layer = self._kept(request.source, progress)
                lease.add(layer.descriptor.digest, layer.diff_id)
                blob = str(self._core.content.path(layer.descriptor.digest))
                self._core.drivers.storage().apply(LayerApply(layer.diff_id, blob, layer.descriptor.media_type))
                resolved = _image(request, run_config, layer, names)
                stored = StoredLayer(layer.descriptor.digest, layer.diff_id, 0)
                image, _new = images.record(resolved, [stored], _platform(request), names, "import")
            except (ResourceExhausted, InvalidArgument):
                images.garbage_collect(but=lease)
                raise
        for name in names:
            images.announce("tag", image.id, name=familiar(name))
        return image

    def _kept(self, source: Iterable[bytes], progress: ProgressSink) -> _Layer:
        """The tar in the store: as it came, or, of a compression that layers cannot have, as gzip."""
        start, pieces = _peeked(source)
        compression = next((name for magic, name in _MAGIC if start.startswith(magic)), "plain")
        counted = _counted(pieces, progress)
        if compression not in _KEPT:
            return self._recompressed(counted)
        with self._core.content.ingesting() as writer:
            for piece in counted:
                writer.write(piece)
            descriptor = Descriptor(_KEPT[compression], writer.digest, writer.size)
            writer.publish()
        if compression == "plain":
            return _Layer(descriptor, descriptor.digest)
        fd = os.open(self._core.content.path(descriptor.digest), os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = self._pool().call({}, (fd,), "decompressing the imported tar")
        finally:
            os.close(fd)
        return _Layer(descriptor, str(found["digest"]))

    def _recompressed(self, pieces: Iterable[bytes]) -> _Layer:
        """Kept in a file without a name first: a worker wants a file, and the whole of it."""
        from barque.spi.trees.streaming import stream

        place = str(self._core.layout.content)
        with reported("keeping the imported tar", place):
            fd = os.open(place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                for piece in pieces:
                    _write(fd, piece)
                os.lseek(fd, 0, os.SEEK_SET)
                with self._core.content.ingesting() as writer:
                    doing = "decompressing the imported tar"
                    found = stream(self._pool(), {"output": "gzip"}, (fd,), writer.write, doing)
                    descriptor = Descriptor(_KEPT["gzip"], writer.digest, writer.size)
                    writer.publish()
            finally:
                os.close(fd)
        return _Layer(descriptor, str(found["digest"]))
