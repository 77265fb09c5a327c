"""The record of an image, made again from what the content store has: its config, named by the image's id, and a manifest of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from barque.engine.core import Core
from barque.engine.images.rows import StoredImage, StoredLayer
from barque.oci.reference import is_digest
from barque.spi.common import Platform
from barque.spi.errors import BarqueError

__all__ = ["rebuild"]

_MAX_MANIFEST = 4 << 20


def rebuild(core: Core, image_id: str, document: str) -> StoredImage | None:
    """The image `image_id`, or None if its content is not there. Names are what can still be read of the old `document`."""
    if not is_digest(image_id):
        return None
    try:
        config = json.loads(core.content.read(image_id))
        diff_ids = [str(d) for d in config["rootfs"]["diff_ids"]]
        for digest, manifest in _manifests(core):
            if manifest["config"]["digest"] == image_id:
                return _image(core, image_id, document, config, diff_ids, digest, manifest)
    except (BarqueError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return None


def _manifests(core: Core) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All manifests in the store."""
    for digest in core.content.digests():
        with suppress(BarqueError, ValueError, RecursionError):
            if core.content.size(digest) > _MAX_MANIFEST:
                continue
            found = json.loads(core.content.read(digest))
            if isinstance(found, dict) and isinstance(found.get("config"), dict) and "layers" in found:
                yield digest, found


def _image(
    core: Core,
    image_id: str,
    document: str,
    config: Mapping[str, Any],
    diff_ids: list[str],
    digest: str,
    manifest: Mapping[str, Any],
) -> StoredImage:
    storage = core.drivers.storage()
    present = set(storage.list().layers)
    layers = tuple(
        StoredLayer(str(layer["digest"]), diff_id, storage.usage(diff_id).bytes if diff_id in present else 0)
        for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True)
    )
    names, digests = _names(core, document)
    return StoredImage(
        id=image_id,
        names=names,
        digests=digests,
        manifest_digest=digest,
        manifest_type=str(manifest.get("mediaType") or "application/vnd.oci.image.manifest.v1+json"),
        layers=layers,
        platform=Platform(str(config["os"]), str(config["architecture"]), str(config.get("variant") or "")),
        size=sum(layer.size for layer in layers),
        pulled_ns=time.time_ns(),
    )


def _names(core: Core, document: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and digests of a record that is no valid one, without those that another image has."""
    try:
        old = json.loads(document)
    except (ValueError, RecursionError):
        return (), ()
    if not isinstance(old, dict):
        return (), ()
    taken = {r for image in core.images.stored() for r in (*image.names, *image.digests)}
    return _free(old.get("names"), taken), _free(old.get("digests"), taken)


def _free(references: object, taken: set[str]) -> tuple[str, ...]:
    if not isinstance(references, list):
        return ()
    return tuple(r for r in references if isinstance(r, str) and r not in taken)
