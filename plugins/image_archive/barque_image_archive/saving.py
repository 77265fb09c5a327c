"""Writing images as one tar: an OCI layout, and manifest.json for readers of docker-archives over the same blobs.

Manifests, configs and layers are the stored bytes, so every digest survives. Two saves of the same images are
equal: nothing of the time or the host is in them. Source: OCI image-spec, image-layout; moby, image/spec v1.2.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from barque.spi.errors import InvalidArgument
from barque.spi.image import ContentReader, SavedImage
from barque_image_archive.documents import blob_name, config_platform, read_object, sha256
from barque_image_archive.names import familiar, split_tag

__all__ = ["save"]

_BLOCK = 512
_DIRECTORY, _FILE = b"5", b"0"
_LARGEST_OCTAL = 0o77777777777

Write = Callable[[bytes], object]


def save(images: Sequence[SavedImage], content: ContentReader, write: Write) -> None:
    """See `ImageHooks.image_save`."""
    documents: dict[str, bytes] = {}
    layers: dict[str, int] = {}
    for image in images:
        documents.update({sha256(data): data for data in (image.manifest, image.config)})
        layers.update({layer.digest: layer.size for layer in image.layers})
    for directory in ("blobs/", "blobs/sha256/"):
        write(_header(directory, 0, _DIRECTORY))
    for digest in sorted({*documents, *layers}):
        if digest in documents:
            _file(blob_name(digest), documents[digest], write)
        else:
            _stream(digest, layers[digest], content, write)
    _file("index.json", _json(_index(images)), write)
    _file("manifest.json", _json([_entry(image) for image in images]), write)
    _file("oci-layout", _json({"imageLayoutVersion": "1.0.0"}), write)
    write(bytes(2 * _BLOCK))


def _index(images: Sequence[SavedImage]) -> dict[str, Any]:
    """One entry a name, as containerd writes it; an image without names has one too."""
    manifests = [_descriptor(image, name) for image in images for name in image.names or ("",)]
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    }


def _descriptor(image: SavedImage, name: str) -> dict[str, Any]:
    platform = config_platform(read_object(image.config, "image config"))
    fields = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}
    descriptor: dict[str, Any] = {
        "mediaType": image.manifest_type,
        "digest": sha256(image.manifest),
        "size": len(image.manifest),
        "platform": {key: value for key, value in fields.items() if value},
    }
    if name:
        descriptor["annotations"] = {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": split_tag(name)[1],
        }
    return descriptor


def _entry(image: SavedImage) -> dict[str, Any]:
    """An entry of manifest.json. `docker load` decompresses the layers itself."""
    return {
        "Config": blob_name(sha256(image.config)),
        "RepoTags": [familiar(name) for name in image.names] or None,
        "Layers": [blob_name(layer.digest) for layer in image.layers],
    }


def _stream(digest: str, size: int, content: ContentReader, write: Write) -> None:
    write(_header(blob_name(digest), size, _FILE))
    written = 0
    for piece in content.chunks(digest):
        written += len(piece)
        if written > size:
            break
        write(piece)
    if written != size:
        raise InvalidArgument(f"content {digest} is damaged: it has not the {size} bytes of its descriptor")
    write(bytes(-size % _BLOCK))


def _file(name: str, data: bytes, write: Write) -> None:
    write(_header(name, len(data), _FILE) + data + bytes(-len(data) % _BLOCK))


def _header(name: str, size: int, kind: bytes) -> bytes:
    """A ustar header: root's, of time 0. Names here are short ASCII."""
    mode = b"0000755\0" if kind == _DIRECTORY else b"0000644\0"
    fields = [name.encode().ljust(100, b"\0"), mode, b"0000000\0" * 2, _size(size), b"00000000000\0"]
    tail = [kind, bytes(100), b"ustar\00000", bytes(64), b"0000000\0" * 2, bytes(167)]
    total = sum(map(sum, fields)) + 8 * 0x20 + sum(map(sum, tail))
    return b"".join((*fields, b"%06o\0 " % total, *tail))


def _size(size: int) -> bytes:
    """Octal digits; beyond 8 GiB the binary form that GNU tar and Go know."""
    if size <= _LARGEST_OCTAL:
        return b"%011o\0" % size
    return b"\x80" + size.to_bytes(11, "big")


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
