"""Push an image: its layers side by side, then config, then manifest (distribution spec: pushing manifests)."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from barque.spi import Descriptor, Progress
from barque.spi.errors import InvalidArgument, Unavailable
from barque.spi.image import ImagePush
from barque_image_registry.client import RegistryClient, Repository, Request
from barque_image_registry.config import RegistryConfig
from barque_image_registry.endpoints import Endpoints
from barque_image_registry.reference import Reference, parse
from barque_image_registry.throttle import Throttle
from barque_image_registry.upload import Outcome, upload
from barque_image_registry.uploadsource import Blob, UploadSource

__all__ = ["Pusher"]

_STORED = frozenset({200, 201, 202})
_MOST_MOUNTS = 3


class Pusher:
    """Pushes for one driver. Thread-safe."""

    def __init__(
        self, client: RegistryClient, endpoints: Endpoints, throttle: Throttle, config: RegistryConfig
    ) -> None:
        self._client, self._endpoints, self._throttle = client, endpoints, throttle
        self._parallel, self._chunk_size = config.parallel_uploads, config.chunk_size

    def push(self, request: ImagePush) -> Descriptor:
        """See `ImageHooks.image_push`."""
        reference = parse(request.reference)
        if reference.digest:
            raise InvalidArgument("cannot push a digest reference", hint="give the image a tag and push that")
        work = _Push(request, reference, _mounts(reference, request.repositories), threading.Event())
        work.check()
        repository = self._endpoints.registry(reference, request.credentials, work.check, push=True)
        self._push_layers(work, repository)
        config = _config_of(request)
        self._upload(work, repository, config, lambda _: None, ())
        return self._push_manifest(work, repository)

    def _push_layers(self, work: _Push, repository: Repository) -> None:
        layers = work.layers()
        for layer in layers:
            work.say(layer, "Preparing")
        for layer in layers[self._parallel :]:
            work.say(layer, "Waiting")
        errors = work.side_by_side(self._parallel, layers, partial(self._push_layer, work, repository))
        if errors:
            raise next((error for error in errors if not isinstance(error, _Stopped)), errors[0])

    def _push_layer(self, work: _Push, repository: Repository, layer: _Layer) -> None:
        if layer.foreign:
            return work.say(layer, "Skipped foreign layer")
        blob = Blob(layer.digest, layer.size, partial(work.request.content.chunks, layer.digest))

        def moved(position: int) -> None:
            work.say(layer, "Pushing", position, layer.size)

        return work.say(layer, _told(self._upload(work, repository, blob, moved, work.mounts)))

    def _upload(
        self,
        work: _Push,
        repository: Repository,
        blob: Blob,
        moved: Callable[[int], None],
        mounts: tuple[str, ...],
    ) -> Outcome:
        source = UploadSource(blob, self._throttle, moved, work.check)
        return upload(self._client, repository, source, mounts, self._chunk_size, work.check)

    def _push_manifest(self, work: _Push, repository: Repository) -> Descriptor:
        request = work.request
        digest = _digest(request.manifest)
        put = Request(
            "PUT",
            repository.url(f"manifests/{work.reference.tag}"),
            _STORED,
            {"Content-Type": request.manifest_type},
            request.manifest,
        )

        def store() -> None:
            with self._client.ask(repository, put, work.check) as reply:
                announced = reply.headers.get("Docker-Content-Digest", digest)
                if announced != digest:
                    raise InvalidArgument(
                        f"manifest verification failed for digest {digest}: the registry stored {announced[:100]!r}",
                        hint="the registry is broken or hostile",
                    )

        self._client.retrying(store, work.check, patient=True)
        return Descriptor(request.manifest_type, digest, len(request.manifest))


class _Stopped(Unavailable):
    """This layer stopped because another failed or the client left."""


@dataclass(frozen=True, slots=True)
class _Layer:
    digest: str
    size: int
    shown: str
    foreign: bool


@dataclass(frozen=True, slots=True)
class _Push:
    """One push on its way."""

    request: ImagePush
    reference: Reference
    mounts: tuple[str, ...]
    failed: threading.Event

    def check(self) -> None:
        """Raise when the push is to stop."""
        if self.failed.is_set() or self.request.cancelled():
            raise _Stopped("the push was cancelled")

    def say(self, layer: _Layer, status: str, current: int = 0, total: int = 0) -> None:
        """A progress line of one layer."""
        self.request.progress(Progress(layer.shown, status, current, total))

    def layers(self) -> list[_Layer]:
        """The layers, each once, with the ids Docker shows in a push: those of the unpacked layers."""
        described = _object(self.request.manifest, "manifest").get("layers")
        foreign = {item["digest"] for item in described or () if item.get("urls") and _is_foreign(item)}
        diff_ids = (_object(self.request.config, "image config").get("rootfs") or {}).get("diff_ids") or ()
        shown = [str(diff_id) for diff_id in diff_ids]
        if len(shown) != len(self.request.layers):
            shown = [layer.digest for layer in self.request.layers]
        found = {
            layer.digest: _Layer(layer.digest, layer.size, name[7:19], layer.digest in foreign)
            for layer, name in zip(self.request.layers, shown, strict=True)
        }
        return list(found.values())

    def side_by_side(
        self, width: int, layers: list[_Layer], push: Callable[[_Layer], None]
    ) -> list[BaseException]:
        """Push `width` layers at a time; the first error stops the others. Daemon threads: the process may end while one hangs."""
        left, errors = deque(layers), list[BaseException]()

        def work_off() -> None:
            while left and not errors:
                try:
                    push(left.popleft())
                except IndexError:
                    return
                except BaseException as error:  # noqa: BLE001 - raised by the caller
                    errors.append(error)
                    self.failed.set()

        threads = [threading.Thread(target=work_off, name="push", daemon=True) for _ in layers[:width]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return errors


def _mounts(reference: Reference, repositories: tuple[str, ...]) -> tuple[str, ...]:
    """Paths of other repositories on the same registry."""
    parsed = [parse(name) for name in repositories]
    paths = [other.path for other in parsed if other.host == reference.host and other.path != reference.path]
    return tuple(dict.fromkeys(paths))[:_MOST_MOUNTS]


def _is_foreign(item: dict[str, Any]) -> bool:
    media_type = str(item.get("mediaType"))
    return "foreign" in media_type or "nondistributable" in media_type


def _config_of(request: ImagePush) -> Blob:
    data, digest = request.config, _digest(request.config)
    described = _object(request.manifest, "manifest").get("config") or {}
    if described.get("digest") != digest:
        raise InvalidArgument(f"the image's manifest does not name its config {digest}")
    return Blob(digest, len(data), lambda offset: iter((data[offset:],)))


def _told(outcome: Outcome) -> str:
    if outcome.there:
        return "Layer already exists"
    return f"Mounted from {outcome.mounted}" if outcome.mounted else "Pushed"


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the image's {what} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidArgument(f"the image's {what} is not a JSON object")
    return found


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
