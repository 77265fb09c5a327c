"""What a container changed: told, and made an image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

from barque.engine import failpoints
from barque.engine.core import Core
from barque.engine.images.layerblobs import EMPTY_DIFF_ID, NewLayer, store_layer
from barque.engine.images.service import StoredImage, StoredLayer
from barque.engine.lifecycle.control import Controller
from barque.engine.records import ContainerRecord
from barque.oci.changes import apply_changes
from barque.oci.committed import image_config, merged, run_config
from barque.spi.common import Descriptor
from barque.spi.content import CommitRequest, Image
from barque.spi.errors import BarqueError, Conflict, InvalidArgument, NotFound
from barque.spi.image import ResolvedImage
from barque.spi.storage import Change, LayerApply

__all__ = ["Committer"]

_OCI = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
)
_DOCKER = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)


class Committer:
    """Makes images of containers. Thread-safe."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._controller = Controller(core)

    def changes(self, record: ContainerRecord) -> tuple[Change, ...]:
        """See `ContentOperations.container_changes`."""
        return self._core.drivers.storage(record.stored.storage).changes(record.id)

    def commit(self, record: ContainerRecord, request: CommitRequest) -> Image:
        """See `ContentOperations.container_commit`. All or nothing: what a failure leaves is given back."""
        images = self._core.images
        names = self._names(request)
        parent = images.of_container(record.stored.image_id)
        with images.leased(parent.needs) as lease:
            config = self._run_config(record, request, parent)
            manifest = self._manifest(parent)
            try:
                layer = self._pack(record, pause=request.pause)
                lease.add(layer.digest, layer.diff_id)
                resolved, layers = self._assemble(record, request, parent, config, manifest, layer, names)
                failpoints.hit("commit.record")
                image, _new = images.record(resolved, layers, parent.platform, names, "")
            except BarqueError:
                images.garbage_collect(but=lease)
                raise
        for name in names:
            images.announce("tag", image.id, name=images.naming.familiar(name))
        reference = images.naming.familiar(names[0]) if names else ""
        self._core.publish(
            record.stored, "commit", comment=request.comment, imageID=image.id, imageRef=reference
        )
        return image

    def _names(self, request: CommitRequest) -> tuple[str, ...]:
        """The canonical name, a registry's whatever it looks like. Errors: InvalidArgument."""
        if not request.repository:
            return ()
        reference = self._core.images.naming.parse(f"{request.repository}:{request.tag or 'latest'}")
        return (reference.name,)

    def _run_config(
        self, record: ContainerRecord, request: CommitRequest, parent: StoredImage
    ) -> dict[str, Any]:
        """What a container of the new image runs. Errors: InvalidArgument (a change that is no instruction)."""
        of_image = self._core.images.config(parent.id).get("config") or {}
        own = run_config(record.stored.config, of_image)
        return merged(apply_changes(own if request.config is None else request.config, request.changes), own)

    def _manifest(self, parent: StoredImage) -> Mapping[str, Any]:
        try:
            manifest: Mapping[str, Any] = json.loads(self._core.content.read(parent.manifest_digest))
            digests = [descriptor["digest"] for descriptor in manifest["layers"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            digests = []
        if digests != [layer.digest for layer in parent.layers]:
            raise InvalidArgument(
                f"the manifest {parent.manifest_digest} of the container's image is damaged",
                hint="`barque system check --repair`, then pull the image again",
            )
        return manifest

    def _pack(self, record: ContainerRecord, *, pause: bool) -> NewLayer:
        """The changes as a blob of the store. A container that was removed meanwhile may have been packed in part."""
        storage = self._core.drivers.storage(record.stored.storage)
        _require_there(record)
        with self._paused(record) if pause else nullcontext():
            layer = store_layer(self._core.content, lambda write: storage.diff(record.id, write))
        _require_there(record)
        return layer

    @contextmanager
    def _paused(self, record: ContainerRecord) -> Iterator[None]:
        """Hold a running container still. It may end, or be resumed by somebody, at any time."""
        held = False
        with suppress(Conflict):  # it does not run, or is paused already
            self._controller.pause(record)
            held = True
        try:
            yield
        finally:
            if held:
                with suppress(Conflict):
                    self._controller.resume(record)

    def _assemble(
        self,
        record: ContainerRecord,
        request: CommitRequest,
        parent: StoredImage,
        config: Mapping[str, Any],
        manifest: Mapping[str, Any],
        layer: NewLayer,
        names: tuple[str, ...],
    ) -> tuple[ResolvedImage, tuple[StoredLayer, ...]]:
        """The new image's documents and layers, the new one unpacked. A container that changed nothing adds none, as with dockerd."""
        docker = "docker" in parent.manifest_type
        manifest_type, config_type, layer_type = _DOCKER if docker else _OCI
        layers = parent.layers
        descriptors = [dict(descriptor) for descriptor in manifest["layers"]]
        step = _step(record, request)
        if layer.diff_id == EMPTY_DIFF_ID:
            step["empty_layer"] = True
        else:
            blob = str(self._core.content.path(layer.digest))
            self._core.drivers.storage().apply(LayerApply(layer.diff_id, blob, layer_type))
            layers += (StoredLayer(layer.digest, layer.diff_id, 0),)
            descriptors.append({"mediaType": layer_type, "size": layer.size, "digest": layer.digest})
        document = image_config(
            self._core.images.config(parent.id), config, [one.diff_id for one in layers], step
        )
        encoded = _json(document)
        resolved = ResolvedImage(
            name=names[0] if names else "",
            repository_digest="",
            manifest=_json(
                {
                    "schemaVersion": 2,
                    "mediaType": manifest_type,
                    "config": {"mediaType": config_type, "size": len(encoded), "digest": _sha256(encoded)},
                    "layers": descriptors,
                }
            ),
            manifest_type=manifest_type,
            config=encoded,
            layers=tuple(_descriptor(descriptor) for descriptor in descriptors),
        )
        return resolved, layers


def _step(record: ContainerRecord, request: CommitRequest) -> dict[str, Any]:
    """The entry of the image's history."""
    created = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    step: dict[str, Any] = {
        "created": created,
        "author": request.author,
        "created_by": " ".join(record.stored.config.command or ()),
        "comment": request.comment,
    }
    return {name: value for name, value in step.items() if value}


def _require_there(record: ContainerRecord) -> None:
    if record.removed:
        raise NotFound(f"No such container: {record.id}")
    if record.stored.state.status in ("dead", "removing"):
        raise Conflict(f"You cannot commit container {record.id} which is {record.stored.state.status}")


def _descriptor(document: Mapping[str, Any]) -> Descriptor:
    return Descriptor(str(document["mediaType"]), str(document["digest"]), int(document["size"]))


def _json(document: Mapping[str, Any] | Sequence[Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
