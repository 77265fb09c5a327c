"""`docker import`: an image of one layer from a tar, plain or compressed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from barque.engine.core import Core
from barque.engine.images.pulling import host_platform
from barque.engine.images.service import StoredLayer
from barque.spi.common import Descriptor, Platform, Progress, ProgressSink
from barque.spi.content import Image, ImportRequest
from barque.spi.errors import InvalidArgument, ResourceExhausted
from barque.spi.image import ResolvedImage
from barque.spi.storage import LayerApply
from barque.spi.trees.failures import reported
from barque.spi.trees.magic import LONGEST_MAGIC, compression_of
from barque.spi.trees.pool import WorkerPool
from barque.spi.trees.streaming import stream

__all__ = ["Importer"]

_INFLATE = (
    "barque.spi.trees.inflate"  # not imported: it loads all decompressors, which the worker alone needs
)
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_KEPT = {"plain": _LAYER, "gzip": f"{_LAYER}+gzip", "zstd": f"{_LAYER}+zstd"}
_TOLD = 4 << 20
_WORKERS = 2
_IDLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Layer:
    """The layer's blob, and the digest of its uncompressed tar."""

    descriptor: Descriptor
    diff_id: str


class Importer:
    """Brings tars in as images. Decompression is done by worker processes, never by a program from somewhere."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._workers: WorkerPool | None = None

    def run(self, request: ImportRequest, progress: ProgressSink) -> Image:
        """See `ContentOperations.image_import`. All or nothing: what a full disk or a broken tar leaves is given back."""
        from barque.oci.changes import apply_changes  # few daemons ever import: the rest do without

        names = self._names(request)
        run_config = apply_changes({}, request.changes)
        images = self._core.images
        with images.leased(()) as lease:
            try:
                layer = self._kept(request.source, progress)
                lease.add(layer.descriptor.digest, layer.diff_id)
                blob = str(self._core.content.path(layer.descriptor.digest))
                self._core.drivers.storage().apply(
                    LayerApply(layer.diff_id, blob, layer.descriptor.media_type)
                )
                resolved = _image(request, run_config, layer, names)
                stored = StoredLayer(layer.descriptor.digest, layer.diff_id, 0)
                image, _new = images.record(resolved, [stored], _platform(request), names, "import")
            except (ResourceExhausted, InvalidArgument):
                images.garbage_collect(but=lease)
                raise
        for name in names:
            images.announce("tag", image.id, name=images.naming.familiar(name))
        return image

    def _kept(self, source: Iterable[bytes], progress: ProgressSink) -> _Layer:
        """The tar in the store: as it came, or, of a compression that layers cannot have, as gzip."""
        start, pieces = _peeked(source)
        compression = compression_of(start)
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
        import tempfile  # few daemons ever import: the rest do without

        place = str(self._core.layout.content)
        with (
            reported("keeping the imported tar", place),
            tempfile.TemporaryFile(dir=place, buffering=0) as file,
        ):
            for piece in pieces:
                _write(file.fileno(), piece)
            file.seek(0)
            with self._core.content.ingesting() as writer:
                doing = "decompressing the imported tar"
                found = stream(self._pool(), {"output": "gzip"}, (file.fileno(),), writer.write, doing)
                descriptor = Descriptor(_KEPT["gzip"], writer.digest, writer.size)
                writer.publish()
        return _Layer(descriptor, str(found["digest"]))

    def _names(self, request: ImportRequest) -> tuple[str, ...]:
        """The canonical name, a registry's whatever it looks like. Errors: InvalidArgument."""
        if not request.repository:
            return ()
        return (self._core.images.naming.parse(f"{request.repository}:{request.tag or 'latest'}").name,)

    def _pool(self) -> WorkerPool:
        """Made when something compressed comes: few daemons ever import."""
        if self._workers is None:
            jail = self._core.layout.run / "empty"
            jail.mkdir(mode=0o700, exist_ok=True)
            self._workers = WorkerPool(_INFLATE, _WORKERS, _IDLE_SECONDS, os.fspath(jail))
        return self._workers


def _peeked(source: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, enough to tell a compression, and all pieces."""
    pieces = iter(source)
    start = b""
    for piece in pieces:
        start += piece
        if len(start) >= LONGEST_MAGIC:
            break
    return start, chain((start,), pieces)


def _counted(pieces: Iterable[bytes], progress: ProgressSink) -> Iterator[bytes]:
    """The pieces, and a line of progress now and then."""
    came = told = 0
    for piece in pieces:
        came += len(piece)
        if came - told >= _TOLD:
            told = came
            progress(Progress("", "Importing", came))
        yield piece


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _platform(request: ImportRequest) -> Platform:
    return request.platform or host_platform()


def _image(
    request: ImportRequest, run_config: dict[str, Any], layer: _Layer, names: tuple[str, ...]
) -> ResolvedImage:
    """Config and manifest as `docker import` makes them."""
    config = _json(_config(request, run_config, layer.diff_id))
    descriptor = layer.descriptor
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": _sha256(config), "size": len(config)},
        "layers": [
            {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
        ],
    }
    return ResolvedImage(
        name=names[0] if names else "",
        repository_digest="",
        manifest=_json(manifest),
        manifest_type=_MANIFEST,
        config=config,
        layers=(descriptor,),
    )


def _config(request: ImportRequest, run_config: dict[str, Any], diff_id: str) -> dict[str, Any]:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    created = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09}Z"
    comment = request.message or "Imported from -"
    platform = _platform(request)
    config: dict[str, Any] = {
        "architecture": platform.architecture,
        "comment": comment,
        "config": run_config,
        "created": created,
        "history": [{"created": created, "comment": comment}],
        "os": platform.os,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    if platform.variant:
        config["variant"] = platform.variant
    return config


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
