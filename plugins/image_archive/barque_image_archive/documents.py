"""JSON documents of images: bounded, and taken for nothing but what they say they are.

Sources: OCI image-spec (descriptor, manifest, image-index, image-layout), Docker image manifest v2 schema 2. A document must be of the
media type its descriptor names (CVE-2021-41190); a digest is sha256 in canonical form, which cannot name a path (CVE-2024-3727).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from barque.spi import Descriptor, Platform
from barque.spi.errors import InvalidArgument, NotFound
from barque_image_archive.files import Files, read_document
from barque_image_archive.names import is_digest

__all__ = [
    "INDEXES",
    "MANIFESTS",
    "Manifest",
    "Node",
    "blob_name",
    "config_platform",
    "diff_ids",
    "missing",
    "read_array",
    "read_manifest",
    "read_nodes",
    "read_object",
    "sha256",
    "verified",
]

_OCI, _DOCKER = "application/vnd.oci.image", "application/vnd.docker"
MANIFESTS = frozenset({f"{_OCI}.manifest.v1+json", f"{_DOCKER}.distribution.manifest.v2+json"})
INDEXES = frozenset({f"{_OCI}.index.v1+json", f"{_DOCKER}.distribution.manifest.list.v2+json"})
_CONFIGS = frozenset({f"{_OCI}.config.v1+json", f"{_DOCKER}.container.image.v1+json"})
_MOST_VALUES = 200_000  # a value costs about 60 bytes of memory for as little as 3 of text
_MOST_NODES = 1024
_MOST_LAYERS = 512
_LARGEST_BLOB = 1 << 40


@dataclass(frozen=True, slots=True)
class Node:
    """A descriptor in an index; `platform` is None where the index names none."""

    descriptor: Descriptor
    platform: Platform | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The descriptors of a manifest."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


def sha256(data: bytes) -> str:
    """`sha256:…` of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def blob_name(digest: str) -> str:
    """Where an OCI layout has the blob. `digest` is checked already."""
    return f"blobs/sha256/{digest[7:]}"


def verified(files: Files, descriptor: Descriptor) -> bytes:
    """The small blob of a descriptor. Errors: NotFound, InvalidArgument (digest or size is another)."""
    data = read_document(files, blob_name(descriptor.digest))
    if len(data) != descriptor.size or sha256(data) != descriptor.digest:
        raise InvalidArgument(f"blob {descriptor.digest} of the archive does not match its digest and size")
    return data


def read_object(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object that `data` is. InvalidArgument names `what`."""
    document = _read(data, what)
    if not isinstance(document, dict):
        raise InvalidArgument(f"{what} is not a JSON object")
    return document


def read_array(data: bytes, what: str) -> list[dict[str, Any]]:
    """The JSON array of objects that `data` is. InvalidArgument names `what`."""
    document = _read(data, what)
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise InvalidArgument(f"{what} is not a list of JSON objects")
    return document


def read_nodes(data: bytes, what: str) -> tuple[Node, ...]:
    """The images of an index: manifests and further indexes, without attestations and artifacts of other types."""
    document = read_object(data, what)
    items = document.get("manifests")
    _check_kind(document, INDEXES, what)
    if (
        not isinstance(items, list)
        or len(items) > _MOST_NODES
        or "layers" in document
        or "config" in document
    ):
        raise InvalidArgument(f"{what} is not an index of at most {_MOST_NODES} manifests")
    nodes = (_node(item, what) for item in items)
    return tuple(node for node in nodes if node is not None)


def read_manifest(data: bytes, media_type: str) -> Manifest:
    """The manifest that `data` is. Errors: InvalidArgument."""
    document = read_object(data, "manifest")
    _check_kind(document, frozenset((media_type,)), "manifest")
    layers = document.get("layers")
    if not isinstance(layers, list) or len(layers) > _MOST_LAYERS or "manifests" in document:
        raise InvalidArgument(f"manifest: it has no list of at most {_MOST_LAYERS} layers")
    config = _descriptor(document.get("config"), "manifest")
    if config.media_type not in _CONFIGS:
        raise InvalidArgument(f"not a container image: its config is {config.media_type[:100]!r}")
    return Manifest(config, tuple(_layer(item) for item in layers))


def config_platform(config: Mapping[str, Any]) -> Platform:
    """What an image config says it runs on."""
    fields = [config.get(name) or "" for name in ("os", "architecture", "variant")]
    if not all(isinstance(field, str) for field in fields):
        raise InvalidArgument("image config: os or architecture is not a string")
    return Platform(*map(str, fields))


def diff_ids(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The layers' diff ids. Errors: InvalidArgument."""
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list) or not all(is_digest(item) for item in found):
        raise InvalidArgument("image config: rootfs.diff_ids is not a list of sha256 digests")
    return tuple(found)


def _read(data: bytes, what: str) -> Any:
    if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise InvalidArgument(f"{what} has more than {_MOST_VALUES} values")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what} is not JSON: {error}") from error


def _check_kind(document: Mapping[str, Any], types: frozenset[str], what: str) -> None:
    if document.get("schemaVersion") != 2:
        raise InvalidArgument(f"{what}: unsupported schemaVersion {str(document.get('schemaVersion'))[:20]}")
    declared = document.get("mediaType")
    if declared is not None and declared not in types:
        raise InvalidArgument(f"{what}: its mediaType {str(declared)[:100]!r} is not what refers to it says")


def _node(item: object, what: str) -> Node | None:
    descriptor = _descriptor(item, what)
    assert isinstance(item, dict)
    platform = item.get("platform")
    if platform is not None and not isinstance(platform, dict):
        raise InvalidArgument(f"{what}: a platform is not an object")
    if (
        descriptor.media_type not in MANIFESTS | INDEXES
        or "vnd.docker.reference.type" in descriptor.annotations
    ):
        return None
    if not platform:
        return Node(descriptor, None)
    found = config_platform(platform)
    return None if found.os == found.architecture == "unknown" else Node(descriptor, found)


def _layer(item: object) -> Descriptor:
    layer = _descriptor(item, "manifest")
    assert isinstance(item, dict)
    if item.get("urls"):
        raise InvalidArgument(
            f"layer {layer.digest} is foreign: it would come from another server",
            hint="save the image with all its layers",
        )
    return layer


def _descriptor(item: object, what: str) -> Descriptor:
    if not isinstance(item, dict):
        raise InvalidArgument(f"{what}: a descriptor is not an object")
    media_type, digest, size = item.get("mediaType"), item.get("digest"), item.get("size")
    if not isinstance(media_type, str) or not media_type:
        raise InvalidArgument(f"{what}: a descriptor has no media type")
    if not is_digest(digest):
        raise InvalidArgument(
            f"{what}: invalid digest {str(digest)[:128]!r}", hint="only sha256 is supported"
        )
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= _LARGEST_BLOB:
        raise InvalidArgument(f"{what}: {digest} has the invalid size {str(size)[:32]}")
    annotations = item.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise InvalidArgument(f"{what}: {digest} has annotations that are not strings")
    return Descriptor(media_type, str(digest), size, annotations)


def missing(error: NotFound) -> InvalidArgument:
    """A file that the archive itself says it has, and has not."""
    return InvalidArgument(f"the archive is incomplete: {error.message}")
