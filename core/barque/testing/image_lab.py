"""What the tests of kind `image` work with: sinks and contents in memory, small images, whole layers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from barque.spi.common import Descriptor
from barque.spi.errors import BarqueError, NotFound
from barque.spi.image import ImageCapability, ImageHooks, ImagePush, ResolvedImage
from barque.testing.layers import LayerTar

__all__ = [
    "LARGEST_PIECE",
    "MemoryContent",
    "MemorySink",
    "capable",
    "digest",
    "fetched",
    "open_descriptors",
    "small_push",
]

LARGEST_PIECE = 8 << 20
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


class MemorySink:
    """A `BlobSink` that keeps what it gets. `begun` is there from the start; `fail_after` bytes it raises `error`."""

    def __init__(
        self, begun: bytes | bytearray = b"", fail_after: int = -1, error: BarqueError | None = None
    ) -> None:
        self.data = bytearray(begun)
        self.restarts = 0
        self.largest_piece = 0
        self._fail_after = fail_after
        self._error = error

    @property
    def offset(self) -> int:
        return len(self.data)

    def restart(self) -> None:
        self.restarts += 1
        self.data.clear()

    def write(self, data: bytes | memoryview, /) -> None:
        if self._error is not None and len(self.data) + len(data) > self._fail_after:
            raise self._error
        self.largest_piece = max(self.largest_piece, len(data))
        self.data += data


class MemoryContent:
    """A `ContentReader` of `blobs`, given in pieces of `piece` bytes. After `fail_after` bytes it raises `error`."""

    def __init__(self, blobs: Iterable[bytes] = (), piece: int = 100_000) -> None:
        self.blobs = {digest(blob): blob for blob in blobs}
        self.piece = piece
        self.fail_after = -1
        self.error: BarqueError | None = None
        self.opened: list[tuple[str, int]] = []

    def chunks(self, digest: str, offset: int = 0) -> Iterator[bytes]:
        """See `barque.spi.image.ContentReader`."""
        if digest not in self.blobs:
            raise NotFound(f"content {digest} is not in the store")
        self.opened.append((digest, offset))
        return self._pieces(self.blobs[digest], offset)

    def _pieces(self, data: bytes, offset: int) -> Iterator[bytes]:
        for position in range(offset, len(data), self.piece):
            if self.error is not None and position >= self.fail_after:
                raise self.error
            yield data[position : position + self.piece]


def small_push(reference: str, layers: Iterable[bytes] | None = None, **fields: Any) -> ImagePush:
    """An image of uncompressed `layers` (by default a new one each time), to be pushed as `reference`. `fields` are further ones of the push."""
    blobs = list(layers) if layers is not None else [LayerTar().file("random", os.urandom(300_000)).content()]
    descriptors = tuple(Descriptor(_LAYER, digest(blob), len(blob)) for blob in blobs)
    rootfs = {"type": "layers", "diff_ids": [layer.digest for layer in descriptors]}
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}, "rootfs": rootfs}
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": d.media_type, "digest": d.digest, "size": d.size} for d in descriptors],
    }
    content = fields.pop("content", None) or MemoryContent(blobs)
    return ImagePush(
        reference, json.dumps(manifest).encode(), _MANIFEST, config, descriptors, content, **fields
    )


def capable(driver: ImageHooks, capability: ImageCapability) -> None:
    """Skip the test for a driver that does not declare the capability."""
    if capability not in getattr(driver, "capabilities", frozenset()):
        pytest.skip(f"the driver does not declare the capability {capability!s}")


def fetched(driver: ImageHooks, image: ResolvedImage, layer: Descriptor) -> bytearray:
    """The bytes of a layer."""
    sink = MemorySink()
    driver.image_fetch(image, layer, sink)
    return sink.data


def digest(data: Any) -> str:
    """The sha256 digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))
