"""Images: what is stored, under which names. Bringing them in is in `pulling`."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from barque.engine.drivers import Drivers
from barque.engine.events import EventBus
from barque.engine.imagenames import ImageNames, familiar
from barque.spi.common import Platform
from barque.spi.content import Image, Pruned, Removed
from barque.spi.errors import Conflict, NotImplemented
from barque.spi.image import ResolvedImage
from barque.store.content import ContentStore
from barque.store.database import Database

__all__ = ["ImageService", "StoredImage", "StoredLayer"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer: its blob and what it unpacks to."""

    digest: str
    diff_id: str
    size: int


@dataclass(frozen=True, slots=True)
class StoredImage:
    """What the database keeps of an image. `names` are canonical."""

    id: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    manifest_digest: str
    manifest_type: str
    layers: tuple[StoredLayer, ...]
    platform: Platform
    size: int
    pulled_ns: int


_adapter: TypeAdapter[StoredImage] = TypeAdapter(StoredImage)


class ImageService:
    """All images. Thread-safe."""

    def __init__(self, drivers: Drivers, database: Database, content: ContentStore, events: EventBus) -> None:
        self._drivers, self._database, self._content, self._events = drivers, database, content, events
        self._lock = threading.RLock()
        self._images: dict[str, StoredImage] = {}
        self._configs: dict[str, Mapping[str, Any]] = {}
        self._leases: Counter[str] = Counter()
        self.naming = ImageNames(drivers.schemes())

    def load(self) -> None:
        """Read all images from the database."""
        for id, document in self._database.all("images"):
            try:
                self._images[id] = _adapter.validate_json(document)
            except ValueError as error:
                _log.error("image %s: its record is damaged and it is left out: %s", id, error)

    def all(self) -> tuple[Image, ...]:
        """All images, newest first."""
        with self._lock:
            images = sorted(self._images.values(), key=lambda i: i.pulled_ns, reverse=True)
        return tuple(self._view(image) for image in images)

    def get(self, ref: str) -> Image:
        """By name, digest, id or unique prefix. Errors: NotFound (`No such image: REF`)."""
        return self._view(self.find(ref))

    def find(self, ref: str) -> StoredImage:
        """As `get`, the stored value."""
        with self._lock:
            return self.naming.find(ref, self._images)

    def config(self, image_id: str) -> Mapping[str, Any]:
        """The parsed image config; {} when the image is gone."""
        with self._lock:
            if image_id not in self._configs:
                self._configs[image_id] = json.loads(self._content.read(image_id))
            return self._configs[image_id]

    def tag(self, ref: str, repository: str, tag: str) -> None:
        """Give an image a further name; the name leaves the image that had it."""
        with self._lock:
            image = self.find(ref)
            name = self.naming.canonical(f"{repository}:{tag or 'latest'}")
            self._take_names([name], image.id)
            self._store(replace(self._images[image.id], names=(*self._images[image.id].names, name)))
        self._events.publish("image", "tag", image.id, {"name": familiar(name)})

    def remove(self, ref: str, force: bool, users: Iterable[tuple[str, str, bool]]) -> Removed:
        """See `Engine.image_remove`. `users` are (container id, image id, running)."""
        with self._lock:
            image = self.find(ref)
            using = [(cid, running) for cid, image_id, running in users if image_id == image.id]
            by_id = self.naming.is_id(ref, image.id)
            gone = self._names_to_drop(image, ref, by_id, force)
            remaining = [n for n in image.names if n not in gone]
            if using and not remaining:
                self._refuse_used(image, ref, by_id, force, using)
            untagged = tuple(familiar(name) for name in gone)
            digests = image.digests if remaining else ()
            deleted: tuple[str, ...] = ()
            if remaining or using:
                self._store(replace(image, names=tuple(remaining), digests=digests))
            else:
                untagged += tuple(image.digests)
                deleted = self._delete(image)
        for name in untagged:
            self._events.publish("image", "untag", image.id, {"name": name})
        if deleted:
            self._events.publish("image", "delete", image.id, {"name": image.id})
        return Removed(untagged, deleted)

    def prune(self, accepts: Callable[[Image], bool], users: Iterable[tuple[str, str, bool]]) -> Pruned:
        """See `ContentOperations.image_prune`."""
        raise NotImplemented("not there yet")

    def _names_to_drop(self, image: StoredImage, ref: str, by_id: bool, force: bool) -> list[str]:
        if not by_id:
            name = self.naming.canonical(ref)
            return [name] if name in image.names else list(image.names)
        repositories = {n.rpartition(":")[0] for n in image.names}
        if len(repositories) > 1 and not force:
            raise Conflict(
                f"conflict: unable to delete {image.id[7:19]} (must be forced) - image is referenced in multiple repositories"
            )
        return list(image.names)

    @staticmethod
    def _refuse_used(
        image: StoredImage, ref: str, by_id: bool, force: bool, using: list[tuple[str, bool]]
    ) -> None:
        running = [cid for cid, runs in using if runs]
        if running and (by_id or not force):
            raise Conflict(
                f"conflict: unable to {_what(image, ref, by_id)} (cannot be forced) - "
                f"image is being used by running container {running[0][:12]}"
            )
        if not force:
            raise Conflict(
                f"conflict: unable to {_what(image, ref, by_id)} (must {'be forced' if by_id else 'force'}) - "
                + (
                    f"image is being used by stopped container {using[0][0][:12]}"
                    if by_id
                    else f"container {using[0][0][:12]} is using its referenced image {image.id[7:19]}"
                )
            )

    def _delete(self, image: StoredImage) -> tuple[str, ...]:
        """Forget the image, then free what no other image, container or pull needs."""
        self._database.delete("images", image.id)
        del self._images[image.id]
        self._configs.pop(image.id, None)
        return (image.id, *self.collect())

    def uses_blob(self, digest: str) -> bool:
        """Whether an image has a layer of this blob."""
        with self._lock:
            return any(layer.digest == digest for image in self._images.values() for layer in image.layers)

    def collect(self, unleased: Iterable[str] = ()) -> tuple[str, ...]:
        """Free layers and blobs that no image needs and no pull in flight leases, but for the caller's own leases
        `unleased`. What was freed. Idempotent."""
        storage = self._drivers.storage()
        with self._lock:
            others = self._leases - Counter(unleased)
            used_layers = {layer.diff_id for i in self._images.values() for layer in i.layers} | set(others)
            used_blobs = {layer.digest for i in self._images.values() for layer in i.layers}
            used_blobs |= {i.id for i in self._images.values()} | {
                i.manifest_digest for i in self._images.values()
            }
            free = [diff_id for diff_id in storage.list().layers if diff_id not in used_layers]
            for diff_id in free:
                storage.remove_layer(diff_id)
            if not self._leases:
                for digest in [d for d in self._content.digests() if d not in used_blobs]:
                    self._content.remove(digest)
        return tuple(free)

    def record(
        self,
        resolved: ResolvedImage,
        layers: Sequence[StoredLayer],
        platform: Platform,
        names: tuple[str, ...],
        event: str = "pull",
    ) -> tuple[Image, bool]:
        """Keep an image, its layers in place: the image, and whether it or a name of it is new. Publishes `event`: of the name for
        a pull, else of the id, as Docker."""
        image_id, manifest_digest = _sha256(resolved.config), _sha256(resolved.manifest)
        self._content.put(image_id, resolved.config)
        self._content.put(manifest_digest, resolved.manifest)
        storage = self._drivers.storage()
        sized = tuple(replace(layer, size=storage.usage(layer.diff_id).bytes) for layer in layers)
        repository = resolved.name.partition("@")[0]
        repository = repository.rpartition(":")[0] if ":" in repository.rpartition("/")[2] else repository
        digests = (f"{repository}@{resolved.repository_digest}",) if resolved.repository_digest else ()
        with self._lock:
            known = self._images.get(image_id)
            new = known is None or any(name not in known.names for name in names)
            self._take_names(names, image_id)
            image = StoredImage(
                id=image_id,
                names=_union(known.names if known else (), names),
                digests=_union(known.digests if known else (), digests),
                manifest_digest=manifest_digest,
                manifest_type=resolved.manifest_type,
                layers=sized,
                platform=_platform(json.loads(resolved.config), platform),
                size=sum(layer.size for layer in sized),
                pulled_ns=time.time_ns(),
            )
            self._store(image)
        subject = familiar(resolved.name) if event == "pull" else image_id
        self._events.publish("image", event, subject, {"name": subject})
        return self._view(image), new

    def _take_names(self, names: Iterable[str], new_owner: str) -> None:
        """Names are unique: take them from the images that have them."""
        for image in tuple(self._images.values()):
            kept = tuple(n for n in image.names if n not in names)
            if kept != image.names and (image.id != new_owner or new_owner in self._images):
                self._store(replace(image, names=kept))

    def _store(self, image: StoredImage) -> None:
        self._database.put("images", image.id, _adapter.dump_json(image).decode())
        self._images[image.id] = image

    @contextmanager
    def leased(self, diff_ids: Iterable[str]) -> Iterator[None]:
        """Layers a pull in flight needs: `collect` leaves them alone."""
        wanted = list(diff_ids) or [secrets.token_hex(4)]
        with self._lock:
            self._leases.update(wanted)
        try:
            yield
        finally:
            with self._lock:
                self._leases.subtract(wanted)
                self._leases += Counter()

    def _view(self, image: StoredImage) -> Image:
        return Image(
            id=image.id,
            names=tuple(familiar(n) for n in image.names),
            digests=tuple(familiar(d) for d in image.digests),
            manifest_digest=image.manifest_digest,
            config=self.config(image.id),
            diff_ids=tuple(layer.diff_id for layer in image.layers),
            size=image.size,
            platform=image.platform,
            pulled_ns=image.pulled_ns,
        )


def _platform(config: Mapping[str, Any], asked: Platform) -> Platform:
    return Platform(
        str(config.get("os") or asked.os),
        str(config.get("architecture") or asked.architecture),
        str(config.get("variant") or ""),
    )


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _union(old: tuple[str, ...], new: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*old, *new)))


def _what(image: StoredImage, ref: str, by_id: bool) -> str:
    return f"delete {image.id[7:19]}" if by_id else f'remove repository reference "{ref}"'
