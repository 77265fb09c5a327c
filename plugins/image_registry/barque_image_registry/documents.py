"""Manifests and indexes: read strictly, so that nothing can be taken for something else.

Sources: OCI image-spec (manifest, image-index, descriptor), Docker image manifest v2 schema 2. A document must be what its media
type says (CVE-2021-41190); digests are sha256 in canonical form, which cannot name a path (CVE-2024-3727); layers
with URLs of their own are refused (CVE-2020-15157).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from barque.spi import Descriptor
from barque.spi.errors import InvalidArgument, NotImplemented
from barque_image_registry.boundedjson import read_object
from barque_image_registry.reference import is_digest

__all__ = ["ACCEPT", "Choice", "Index", "Manifest", "diff_ids", "read_document"]

_OCI = "application/vnd.oci.image"
_DOCKER = "application/vnd.docker"
_MANIFESTS = (f"{_OCI}.manifest.v1+json", f"{_DOCKER}.distribution.manifest.v2+json")
_INDEXES = (f"{_OCI}.index.v1+json", f"{_DOCKER}.distribution.manifest.list.v2+json")
_SCHEMA_1 = (f"{_DOCKER}.distribution.manifest.v1+json", f"{_DOCKER}.distribution.manifest.v1+prettyjws")
_CONFIGS = (f"{_OCI}.config.v1+json", f"{_DOCKER}.container.image.v1+json")
_LAYERS = frozenset(
    {
        f"{_OCI}.layer.v1.tar", f"{_OCI}.layer.v1.tar+gzip", f"{_OCI}.layer.v1.tar+zstd", f"{_DOCKER}.image.rootfs.diff.tar",
        f"{_DOCKER}.image.rootfs.diff.tar.gzip", f"{_DOCKER}.image.rootfs.diff.tar.zstd",
    }
)  # fmt: skip
_VAGUE = ("", "application/json", "text/plain", "application/octet-stream")

ACCEPT = ", ".join((*_INDEXES, *_MANIFESTS))

_MOST_LAYERS = 512
_MOST_CHOICES = 1024
_LARGEST_BLOB = 1 << 40


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest: its own type, the config's and the layers' descriptors."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One manifest of an index. An absent platform is three empty strings."""

    descriptor: Descriptor
    os: str = ""
    architecture: str = ""
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Index:
    """The image manifests of an index, without attestations and artifacts; and the indexes within it."""

    media_type: str
    choices: tuple[Choice, ...]
    indexes: tuple[Choice, ...] = ()


def read_document(data: bytes, content_type: str) -> Manifest | Index:
    """Read what a registry sent for a manifest URL as `content_type`. InvalidArgument says what is wrong with it."""
    document = read_object(data, "manifest")
    media_type = _media_type(document, content_type.partition(";")[0].strip().lower())
    if document.get("schemaVersion") != 2:
        raise InvalidArgument(
            f"manifest: unsupported schemaVersion {str(document.get('schemaVersion'))[:20]}"
        )
    if media_type in _INDEXES:
        choices = _choices(document)
        return Index(
            media_type,
            tuple(choice for choice in choices if choice.descriptor.media_type in _MANIFESTS),
            tuple(choice for choice in choices if choice.descriptor.media_type in _INDEXES),
        )
    return Manifest(media_type, *_content(document))


def diff_ids(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The layers' diff ids of an image config. InvalidArgument when it has none that are well-formed."""
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list) or not all(is_digest(item) for item in found):
        raise InvalidArgument("image config: rootfs.diff_ids is not a list of sha256 digests")
    return tuple(found)


def _media_type(document: Mapping[str, Any], header: str) -> str:
    """The type header and document agree on. Mixed documents have no type."""
    declared = document.get("mediaType", "")
    if not isinstance(declared, str):
        raise InvalidArgument("manifest: mediaType is not a string")
    if (
        "fsLayers" in document
        or document.get("schemaVersion") == 1
        or header in _SCHEMA_1
        or declared in _SCHEMA_1
    ):
        raise NotImplemented(
            "manifest: Docker image manifest schema 1 is not supported",
            hint="push the image again with a current tool",
        )
    is_index, is_manifest = "manifests" in document, "layers" in document or "config" in document
    if is_index and is_manifest:
        raise InvalidArgument("manifest: it has the fields of an index and of a manifest")
    if header in _VAGUE:
        header = declared or (_INDEXES if is_index else _MANIFESTS)[0]
    if declared and declared != header:
        raise InvalidArgument(
            f"manifest: mediaType {declared[:128]!r} does not match its Content-Type {header[:128]!r}"
        )
    if header not in (*_INDEXES, *_MANIFESTS):
        raise InvalidArgument(f"manifest: unsupported media type {header[:128]!r}")
    if (header in _INDEXES) != is_index:
        raise InvalidArgument(f"manifest: its fields are not those of {header}")
    return header


def _content(document: Mapping[str, Any]) -> tuple[Descriptor, tuple[Descriptor, ...]]:
    config = _descriptor(document.get("config"), "config")
    if config.media_type not in _CONFIGS:
        artifact = document.get("artifactType") or config.media_type
        raise InvalidArgument(
            f"unsupported media type {str(artifact)[:128]!r}", hint="it is an artifact, no container image"
        )
    layers = document.get("layers")
    if not isinstance(layers, list) or len(layers) > _MOST_LAYERS:
        raise InvalidArgument(f"manifest: layers is not a list of at most {_MOST_LAYERS}")
    return config, tuple(_layer(item) for item in layers)


def _layer(item: object) -> Descriptor:
    layer = _descriptor(item, "layer")
    assert isinstance(item, dict)
    if item.get("urls") or "foreign" in layer.media_type or "nondistributable" in layer.media_type:
        raise InvalidArgument(
            f"layer {layer.digest} is foreign: it would come from another server",
            hint="push the image with all its layers",
        )
    if layer.media_type not in _LAYERS:
        raise InvalidArgument(f"layer {layer.digest}: unsupported media type {layer.media_type[:128]!r}")
    return layer


def _choices(document: Mapping[str, Any]) -> tuple[Choice, ...]:
    items = document["manifests"]
    if not isinstance(items, list) or len(items) > _MOST_CHOICES:
        raise InvalidArgument(f"index: manifests is not a list of at most {_MOST_CHOICES}")
    choices = []
    for item in items:
        descriptor = _descriptor(item, "manifest")
        if descriptor.media_type in (*_MANIFESTS, *_INDEXES) and not _is_attestation(descriptor, item):
            choices.append(_choice(descriptor, item.get("platform")))
    return tuple(choices)


def _choice(descriptor: Descriptor, platform: object) -> Choice:
    if platform is None:
        return Choice(descriptor)
    if not isinstance(platform, dict):
        raise InvalidArgument("index: platform is not an object")
    parts = [platform.get(name, "") for name in ("os", "architecture", "variant")]
    if not all(isinstance(part, str) for part in parts):
        raise InvalidArgument("index: platform has fields that are not strings")
    return Choice(descriptor, *parts)


def _is_attestation(descriptor: Descriptor, item: Mapping[str, Any]) -> bool:
    """BuildKit's provenance and SBOM manifests, and artifacts: not images though their type says so."""
    platform = item.get("platform")
    unknown = isinstance(platform, dict) and platform.get("os") == platform.get("architecture") == "unknown"
    return unknown or bool(item.get("artifactType")) or "vnd.docker.reference.type" in descriptor.annotations


def _descriptor(item: object, what: str) -> Descriptor:
    if not isinstance(item, dict):
        raise InvalidArgument(f"manifest: {what} is not a descriptor")
    media_type, digest, size = item.get("mediaType"), item.get("digest"), item.get("size")
    if not isinstance(media_type, str) or not media_type:
        raise InvalidArgument(f"manifest: {what} has no media type")
    if not is_digest(digest):
        raise InvalidArgument(
            f"manifest: {what} has the invalid digest {str(digest)[:128]!r}", hint="only sha256 is supported"
        )
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= _LARGEST_BLOB:
        raise InvalidArgument(f"manifest: {what} {digest} has the invalid size {str(size)[:32]}")
    annotations = item.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise InvalidArgument(f"manifest: {what} {digest} has annotations that are not strings")
    return Descriptor(media_type, str(digest), size, annotations)
