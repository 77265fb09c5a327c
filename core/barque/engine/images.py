"""Images: what is stored, under which names. Bringing them in is in `pulling`, what goes by itself in `collecting`."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from barque.engine import failpoints
from barque.engine.drivers import Drivers
from barque.engine.events import EventBus
from barque.engine.garbage import Freed, Garbage
from barque.engine.image_removal import Removal, User, plan_removal
from barque.engine.imagenames import ImageNames
from barque.engine.imagerows import StoredImage, StoredLayer, decode, encode, repository_of
from barque.spi.common import Platform
from barque.spi.content import Image, Removed
from barque.spi.errors import BarqueError, Conflict, InvalidArgument, NotFound
from barque.spi.image import ResolvedImage
from barque.store.content import ContentStore
from barque.store.database import Database, Transaction
from barque.store.leases import Lease

__all__ = ["ImageService", "StoredImage", "StoredLayer"]

_log = logging.getLogger(__name__)


class ImageService:
    """All images. Thread-safe. `users` tells the containers; the engine sets it."""

    def __init__(self, drivers: Drivers, database: Database, content: ContentStore, events: EventBus) -> None:
        self._drivers, self._database, self._content, self._events = drivers, database, content, events
        self._lock = threading.RLock()
        self._images: dict[str, StoredImage] = {}
        self._retired: dict[str, StoredImage] = {}
        self._configs: dict[str, Mapping[str, Any]] = {}
        self._used: dict[str, int] = {}
        self._needed: frozenset[str] | None = None
        self.unreadable: dict[str, str] = {}
        self.users: Callable[[], Sequence[User]] = lambda: ()
        self.naming = ImageNames(drivers.schemes(), drivers.profile.images.default_registry)
        self.garbage = Garbage(drivers, content, self._lock, self._all_needs)

    def load(self) -> None:
        """Read all images from the database."""
        for id, document in self._database.all("images"):
            try:
                image = decode(document)
            except ValueError as error:
                _log.error("image %s: its record is damaged and it is left out: %s", id, error)
                self.unreadable[id] = document
                continue
            (self._retired if image.retired else self._images)[id] = image

    # -- looking ------------------------------------------------------------------------------

    def all(self) -> tuple[Image, ...]:
        """All images, newest first."""
        return tuple(self.view(image) for image in self.stored())

    def stored(self, *, retired: bool = False) -> list[StoredImage]:
        """All images as stored, newest first; with the `retired` ones, which only containers know."""
        with self._lock:
            found = [*self._images.values(), *(self._retired.values() if retired else ())]
        return sorted(found, key=lambda i: i.pulled_ns, reverse=True)

    def get(self, ref: str) -> Image:
        """By name, digest, id or unique prefix. Errors: NotFound (`No such image: REF`)."""
        return self.view(self.find(ref))

    def find(self, ref: str) -> StoredImage:
        """As `get`, the stored value."""
        with self._lock:
            return self.naming.find(ref, self._images)

    def of_container(self, image_id: str) -> StoredImage:
        """The image a container was made of, also when the user has removed it. Errors: NotFound."""
        with self._lock:
            image = self._images.get(image_id) or self._retired.get(image_id)
        if image is None:
            raise NotFound(f"No such image: {image_id}", hint="the container's image is gone")
        return image

    def config(self, image_id: str) -> Mapping[str, Any]:
        """The parsed image config. Errors: NotFound, InvalidArgument (the store lost or damaged it)."""
        with self._lock:
            if image_id not in self._configs:
                self._configs[image_id] = _parsed(image_id, self._content.read(image_id))
            return self._configs[image_id]

    @contextmanager
    def using(self, ref: str) -> Iterator[StoredImage]:
        """An image of which a container is being made: until the block is left neither it nor its layers go."""
        leases = self._content.leases
        with self._lock:
            image = self.find(ref)
            lease = leases.take((_use(image.id), *image.blobs, *image.diff_ids))
        try:
            yield image
        finally:
            leases.release(lease)

    def leased(self, names: Iterable[str]) -> AbstractContextManager[Lease]:
        """Layers, blobs and images (diff ids, digests, ids) that an operation in flight needs: `collect` leaves them alone, and also
        what comes into the content store meanwhile. The lease can be extended (`add`)."""
        return self._content.leases.held(names)

    # -- names ----------------------------------------------------------------------------------

    def tag(self, ref: str, repository: str, tag: str) -> None:
        """Give an image a further name; the name leaves the image that had it."""
        with self._lock:
            image = self.find(ref)
            name = self.naming.canonical(f"{repository}:{tag or 'latest'}")
            self._put(*self._without((name,), image.id), replace(image, names=_union(image.names, (name,))))
        self.announce("tag", image.id, name=self.naming.familiar(name))

    def remove(self, ref: str, force: bool, users: Sequence[User]) -> Removed:
        """See `Engine.image_remove`. `users` are (container id, image id, running)."""
        with self._lock:
            image = self.find(ref)
            if not force and self._content.leases.protects(_use(image.id)):
                raise Conflict(
                    f"conflict: unable to delete {image.id[7:19]} (must be forced) - a container is being made of it"
                )
            plan = plan_removal(image, ref, self._reference(ref, image), users, force=force)
            return self._apply(image, plan)

    def remove_unused(self, image_id: str) -> Removed | None:
        """Remove an image and all its names, unless a container or an operation in flight needs it: then None."""
        with self._lock:
            image = self._images.get(image_id)
            if image is None or self.in_use(image_id):
                return None
            return self._apply(image, Removal((*image.names, *image.digests), delete=True), collect=False)

    def in_use(self, image_id: str) -> bool:
        """Whether a container is, or is being, made of it, or somebody reads it. The lease first: it ends when the container is there."""
        if self._content.leases.protects(_use(image_id)) or self._content.leases.protects(image_id):
            return True
        return any(used == image_id for _, used, _ in self.users())

    def _reference(self, ref: str, image: StoredImage) -> str:
        """The canonical name or digest of `image` that `ref` is; empty when it is an id."""
        if self.naming.is_id(ref, image.id) and ref not in image.names:
            return ""
        try:
            name = self.naming.canonical(ref)
        except BarqueError:
            return ""
        if name in image.names:
            return name
        _, at, digest = ref.partition("@")
        wanted = f"{repository_of(name)}@{digest}" if at else ""
        return wanted if wanted in image.digests else ""

    def _apply(self, image: StoredImage, plan: Removal, *, collect: bool = True) -> Removed:
        names = tuple(n for n in image.names if n not in plan.dropped)
        digests = tuple(d for d in image.digests if d not in plan.dropped)
        deleted: tuple[str, ...] = ()
        busy = self._content.leases.protects(_use(image.id))
        if not plan.delete:
            self._put(replace(image, names=names, digests=digests), freeing=True)
        elif plan.retire or busy:
            self._put(replace(image, names=(), digests=(), retired=True), freeing=True)
            deleted = (image.id,)
        else:
            self._forget(image)
            deleted = (image.id, *(self.garbage_collect().layers if collect else ()))
        untagged = tuple(self.naming.familiar(reference) for reference in plan.dropped)
        for _ in untagged:
            self.announce("untag", image.id)
        if deleted:
            self.announce("delete", image.id)
        return Removed(untagged, deleted)

    # -- keeping ----------------------------------------------------------------------------------

    def record(
        self,
        resolved: ResolvedImage,
        layers: Sequence[StoredLayer],
        platform: Platform,
        names: tuple[str, ...],
        event: str = "pull",
    ) -> tuple[Image, bool]:
        """Keep an image, its layers in place: the image, and whether it or a name of it is new. Publishes `event`: of the name for
        a pull, else of the id, as Docker; none when it is empty. The caller holds a lease on the layers."""
        image_id, manifest_digest = _sha256(resolved.config), _sha256(resolved.manifest)
        self._content.put(image_id, resolved.config)
        self._content.put(manifest_digest, resolved.manifest)
        storage = self._drivers.storage()
        sized = tuple(replace(layer, size=storage.usage(layer.diff_id).bytes) for layer in layers)
        repository = repository_of(resolved.name)
        digests = (f"{repository}@{resolved.repository_digest}",) if resolved.repository_digest else ()
        failpoints.hit("image.record")
        with self._lock:
            known = self._images.get(image_id)
            new = known is None or any(name not in known.names for name in names)
            image = StoredImage(
                id=image_id,
                names=_union(known.names if known else (), names),
                digests=_union(known.digests if known else (), digests),
                manifest_digest=manifest_digest,
                manifest_type=resolved.manifest_type,
                layers=sized,
                platform=_platform(_parsed(image_id, resolved.config), platform),
                size=sum(layer.size for layer in sized),
                pulled_ns=time.time_ns(),
                used_ns=known.used_ns if known else 0,
            )
            self._put(*self._without((*names, *digests), image_id), image)
        if event:
            self.announce(event, image_id, reference=resolved.name if event == "pull" else "")
        return self.view(image), new

    def name(self, image_id: str, names: tuple[str, ...], event: str) -> Image | None:
        """Give an image that is here, and whole, further canonical names, and publish `event`; None when it is not."""
        layers = set(self._drivers.storage().list().layers)
        with self._lock:
            image = self._images.get(image_id)
            if image is None or image.damaged or not layers.issuperset(image.diff_ids):
                return None
            if not all(self._content.has(digest) for digest in image.blobs):
                return None
            named = replace(image, names=_union(image.names, names))
            self._put(*self._without(names, image_id), named)
        self.announce(event, image_id)
        return self.view(named)

    def replace(self, image: StoredImage, **fields: Any) -> None:
        """Change fields of the stored value, if the image still is there."""
        with self._lock:
            if image.id in self._images:
                self._put(replace(self._images[image.id], **fields))

    def adopt(self, image: StoredImage) -> None:
        """Put a rebuilt record in the place of one that cannot be read."""
        with self._lock:
            self._put(image)
            self.unreadable.pop(image.id, None)

    def drop_unreadable(self, image_id: str) -> None:
        """Forget a row that cannot be read. Idempotent."""
        with self._lock:
            self._database.delete("images", image_id)
            self.unreadable.pop(image_id, None)

    def touch(self, image_id: str) -> None:
        """A container was made of it, started or removed now. In memory; `flush` keeps it."""
        self._used[image_id] = time.time_ns()

    def used_ns(self, image: StoredImage) -> int:
        """When it was used last, 0 for never."""
        return max(image.used_ns, self._used.get(image.id, 0))

    def flush(self) -> None:
        """Write down when images were used. Errors: as the database."""
        with self._lock:
            used, self._used = self._used, {}
            changed = [
                replace(self._images[id], used_ns=when) for id, when in used.items() if id in self._images
            ]
            if changed:
                self._put(*changed)

    def garbage_collect(self, but: Lease | None = None) -> Freed:
        """Free layers and blobs that nothing needs; with `but`, also what only that lease holds. Idempotent.

        With a row of an image that cannot be read nothing is removed: who knows what it needs."""
        with self._lock:
            for image in [i for i in self._retired.values() if not self.in_use(i.id)]:
                self._forget(image)
        if self.unreadable:
            _log.warning(
                "nothing is freed: %d records of images are damaged (`barque system check --repair`)",
                len(self.unreadable),
            )
            return Freed()
        return self.garbage.collect(but)

    def collect(self) -> tuple[str, ...]:
        """`garbage_collect`; the layers that went."""
        return self.garbage_collect().layers

    def announce(self, action: str, image_id: str, *, reference: str = "", name: str = "") -> None:
        """An event as Docker has it: of `reference` (pull, push: its name without the tag is told) or of the image; with its labels."""
        labels: Mapping[str, Any] = {}
        try:
            labels = (self.config(image_id).get("config") or {}).get("Labels") or {}
        except BarqueError as error:
            _log.debug("event %s of %s has no labels: %s", action, image_id, error)
        attributes = {str(key): str(value) for key, value in labels.items()}
        if reference:
            attributes["name"] = self.naming.familiar(repository_of(reference)).removesuffix(":latest")
        else:
            attributes["name"] = name or image_id
        self._events.publish(
            "image", action, self.naming.familiar(reference) if reference else image_id, attributes
        )

    # -- the table ----------------------------------------------------------------------------------

    def _put(self, *images: StoredImage, freeing: bool = False) -> None:
        """All of them in one transaction: a name is never lost on its way from one image to another."""

        def write(change: Transaction) -> None:
            for image in images:
                change.put("images", image.id, encode(image))

        if freeing:
            self._database.freeing(write)
        else:
            with self._database.transaction() as change:
                write(change)
        for image in images:
            mine, other = (self._retired, self._images) if image.retired else (self._images, self._retired)
            mine[image.id] = image
            other.pop(image.id, None)
        self._needed = None

    def _forget(self, image: StoredImage) -> None:
        self._database.delete("images", image.id)
        for table in (self._images, self._retired, self._configs, self._used):
            table.pop(image.id, None)
        self._needed = None

    def _without(self, references: Iterable[str], new_owner: str) -> list[StoredImage]:
        """References are unique: the images that have them, without."""
        wanted = set(references)
        return [
            replace(
                image,
                names=tuple(n for n in image.names if n not in wanted),
                digests=tuple(d for d in image.digests if d not in wanted),
            )
            for image in self._images.values()
            if image.id != new_owner and wanted.intersection((*image.names, *image.digests))
        ]

    def _all_needs(self) -> frozenset[str]:
        """What the images need. The caller holds the lock."""
        if self._needed is None:
            images = (*self._images.values(), *self._retired.values())
            self._needed = frozenset().union(*(image.needs for image in images))
        return self._needed

    def view(self, image: StoredImage) -> Image:
        """As a frontend sees it; one whose config is lost or damaged is seen too, to be removed or pulled again."""
        damaged = image.damaged
        try:
            config = self.config(image.id)
        except BarqueError as error:
            config, damaged = {}, damaged or error.message
        return Image(
            id=image.id,
            names=tuple(self.naming.familiar(n) for n in image.names),
            digests=tuple(self.naming.familiar(d) for d in image.digests),
            manifest_digest=image.manifest_digest,
            config=config,
            diff_ids=image.diff_ids,
            size=image.size,
            platform=image.platform,
            pulled_ns=image.pulled_ns,
            layer_sizes=tuple(layer.size for layer in image.layers),
            used_ns=self.used_ns(image),
            damaged=damaged,
        )


def _parsed(image_id: str, data: bytes) -> Mapping[str, Any]:
    try:
        config = json.loads(data)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise InvalidArgument(
            f"the config of image {image_id} is no JSON object", hint="it is broken at its source"
        )
    return config


def _platform(config: Mapping[str, Any], asked: Platform) -> Platform:
    return Platform(
        str(config.get("os") or asked.os),
        str(config.get("architecture") or asked.architecture),
        str(config.get("variant") or ""),
    )


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _use(image_id: str) -> str:
    return f"use:{image_id}"


def _union(old: tuple[str, ...], new: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*old, *new)))
