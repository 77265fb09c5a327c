"""Layers of an image that the storage driver does not have, though their blobs are here: unpacked again when a container wants them.

So it is after a profile was changed to another storage driver, and after a layer was lost (row R27). It costs nothing while
all are there: the driver's NotFound is what leads here.
"""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor

from barque.engine.core import Core
from barque.engine.images.rows import StoredImage, StoredLayer
from barque.plugins.facades import StorageDriver
from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.storage import LayerApply, SnapshotPrepare

__all__ = ["apply_request", "ensure_layers", "prepare_snapshot"]

_log = logging.getLogger(__name__)
_PARALLEL = 3


def prepare_snapshot(
    core: Core, image: StoredImage, storage: StorageDriver, request: SnapshotPrepare
) -> None:
    """`storage.prepare`, and once more after missing layers were unpacked. Errors: as those of both."""
    try:
        storage.prepare(request)
    except NotFound:
        ensure_layers(core, image, storage)
        storage.prepare(request)


def ensure_layers(core: Core, image: StoredImage, storage: StorageDriver) -> None:
    """Unpack those layers of `image` that `storage` lacks. Idempotent. The caller holds a lease on the image.

    Errors: NotFound (a blob is missing too), InvalidArgument (a blob is damaged), ResourceExhausted.
    """
    present = set(storage.list().layers)
    missing = {layer.diff_id: layer for layer in image.layers if layer.diff_id not in present}
    requests = [apply_request(core, image, layer) for layer in missing.values()]
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="layers") as pool:
        for done in [pool.submit(_apply, storage, request) for request in requests]:
            done.result()


def apply_request(core: Core, image: StoredImage, layer: StoredLayer) -> LayerApply:
    """How to unpack `layer` from its blob. Errors: NotFound when the blob is not here."""
    if not core.content.has(layer.digest):
        raise NotFound(
            f"layer {layer.diff_id} of image {_called(image)} is missing, and so is its blob {layer.digest}",
            hint="pull the image again",
        )
    return LayerApply(layer.diff_id, str(core.content.path(layer.digest)), _media_type(core, image, layer))


def _apply(storage: StorageDriver, request: LayerApply) -> None:
    try:
        storage.apply(request)
    except InvalidArgument as error:
        raise InvalidArgument(
            f"the blob of layer {request.diff_id} is damaged: {error.message}",
            hint="remove the image and pull it again",
        ) from error


def _media_type(core: Core, image: StoredImage, layer: StoredLayer) -> str:
    """As the manifest has it; empty, which lets the driver look for itself, when that is damaged."""
    try:
        for descriptor in json.loads(core.content.read(image.manifest_digest))["layers"]:
            if descriptor["digest"] == layer.digest:
                return str(descriptor["mediaType"])
    except (ValueError, KeyError, TypeError, RecursionError, NotFound, InvalidArgument) as error:
        _log.warning("manifest of image %s: %s", _called(image), error)
    return ""


def _called(image: StoredImage) -> str:
    return image.names[0] if image.names else image.id
