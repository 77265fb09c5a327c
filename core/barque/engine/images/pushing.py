"""Pushing an image to where its name says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from barque.engine.core import Core
from barque.engine.images.rows import repository_of
from barque.engine.images.service import StoredImage
from barque.spi.common import Descriptor, ProgressSink
from barque.spi.content import Pushed
from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.image import Credentials, ImagePush

__all__ = ["Pusher"]


class Pusher:
    """Gives images of the store to the image source their name leads to. Thread-safe."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._stopping = threading.Event()

    def stop(self) -> None:
        """The daemon ends: pushes end as if they were cancelled."""
        self._stopping.set()

    def push(
        self,
        reference: str,
        credentials: Credentials | None,
        progress: ProgressSink,
        cancelled: Callable[[], bool],
    ) -> Pushed:
        """See `ContentOperations.image_push`. The image gets the digest it was pushed under."""
        images, content = self._core.images, self._core.content
        scheme, rest = images.naming.for_source(reference)
        name = images.naming.canonical(reference)
        image = self._named(name)
        with images.leased((image.id, *image.blobs)):
            # Until the lease was held, somebody could remove it.
            image = self._named(name)
            repository = repository_of(name)
            manifest = content.read(image.manifest_digest)
            request = ImagePush(
                rest,
                manifest,
                image.manifest_type,
                content.read(image.id),
                _layers(manifest, image),
                content,
                credentials,
                self._repositories(image),
                progress,
                lambda: self._stopping.is_set() or cancelled(),
            )
            pushed = self._core.drivers.image(scheme).push(request)
            self._remember(image, f"{repository}@{pushed.digest}")
        images.announce("push", image.id, reference=name)
        return Pushed(name.removeprefix(f"{repository}:"), pushed.digest, pushed.size)

    def _named(self, name: str) -> StoredImage:
        """The image of this canonical name. An id is no name: it does not say where to push to."""
        stored = self._core.images.stored()
        for image in stored:
            if name in image.names:
                return image
        naming, repository = self._core.images.naming, repository_of(name)
        if any(repository_of(other) == repository for image in stored for other in image.names):
            raise NotFound(
                f"tag does not exist: {naming.familiar(name)}", hint="`docker images` shows the tags"
            )
        raise NotFound(
            f"An image does not exist locally with the tag: {naming.familiar(repository).removesuffix(':latest')}",
            hint="give it that name with `docker tag`",
        )

    def _repositories(self, image: StoredImage) -> tuple[str, ...]:
        """Where the layers are known to be, those with most of them first. A digest says that it was pulled from or pushed to there."""
        wanted = {layer.digest for layer in image.layers}
        shared: dict[str, int] = {}
        for other in self._core.images.stored():
            count = len(wanted.intersection(layer.digest for layer in other.layers))
            for repository in {repository_of(reference) for reference in other.digests}:
                shared[repository] = max(count, shared.get(repository, 0))
        ranked = sorted((name for name, count in shared.items() if count), key=lambda name: -shared[name])
        return tuple(ranked)

    def _remember(self, image: StoredImage, digest: str) -> None:
        """The image is known by the digest it was pushed under, as by one it was pulled by."""
        images = self._core.images
        now = next((other for other in images.stored() if other.id == image.id), None)
        if now is not None and digest not in now.digests:
            images.replace(now, digests=(*now.digests, digest))


def _layers(manifest: bytes, image: StoredImage) -> tuple[Descriptor, ...]:
    try:
        items: list[dict[str, Any]] = json.loads(manifest)["layers"]
        return tuple(Descriptor(item["mediaType"], item["digest"], item["size"]) for item in items)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidArgument(
            f"the manifest {image.manifest_digest} has no layers", hint="remove the image and pull it again"
        ) from error
