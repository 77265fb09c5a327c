"""Images: what is stored, under which names. Bringing them in is in `pulling`, what goes by itself in `collecting`."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any

from barque.engine import failpoints
from barque.engine.drivers import Drivers
from barque.engine.events import EventBus
from barque.engine.images.names import ImageNames
from barque.engine.images.removal import Removal, User, plan_removal
from barque.engine.images.rows import StoredImage, StoredLayer, repository_of
from barque.engine.images.table import ImageTable
from barque.engine.images.views import ImageViews, parsed_config, platform_of
from barque.engine.upkeep.garbage import Freed, Garbage
from barque.spi.common import Platform
from barque.spi.content import Image, Removed
from barque.spi.errors import BarqueError, Conflict, NotFound
from barque.spi.image import ResolvedImage
from barque.store.content import ContentStore
from barque.store.database import Database
from barque.store.leases import Lease

__all__ = ["ImageService", "StoredImage", "StoredLayer"]

_log = logging.getLogger(__name__)


class ImageService:
    """All images. Thread-safe. `users` tells the containers, `freed` is called when something may be collected; the engine sets both."""

    def __init__(self, drivers: Drivers, database: Database, content: ContentStore, events: EventBus) -> None:
        self._drivers, self._content = drivers, content
        self._table = ImageTable(database)
        self._lock = self._table.lock
        self.users: Callable[[], Sequence[User]] = lambda: ()
        self.freed: Callable[[], None] = lambda: None
        self.naming = ImageNames(drivers.schemes(), drivers.profile.images.default_registry)
        self._views = ImageViews(content, self.naming, events)
        self.garbage = Garbage(drivers, content, self._lock, self._table.needs)

    def load(self) -> None:
        """Read all images from the database."""
        self._table.load()

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Documents of the database that are no image, by id."""
        return self._table.unreadable

    # -- looking ------------------------------------------------------------------------------

    def all(self) -> tuple[Image, ...]:
        """All images, newest first."""
        return tuple(self.view(image) for image in self.stored())

    def stored(self, *, retired: bool = False) -> list[StoredImage]:
        """All images as stored, newest first; with the `retired` ones, which only containers know."""
        with self._lock:
            found = [*self._table.images.values(), *(self._table.retired.values() if retired else ())]
        return sorted(found, key=lambda i: i.pulled_ns, reverse=True)

    def get(self, ref: str) -> Image:
        """By name, digest, id or unique prefix. Errors: NotFound (`No such image: REF`)."""
        return self.view(self.find(ref))

    def find(self, ref: str) -> StoredImage:
        """As `get`, the stored value."""
        with self._lock:
            return self.naming.find(ref, self._table.images)

    def of_container(self, image_id: str) -> StoredImage:
        """The image a container was made of, also when the user has removed it. Errors: NotFound."""
        with self._lock:
            image = self._table.images.get(image_id) or self._table.retired.get(image_id)
        if image is None:
            raise NotFound(f"No such image: {image_id}", hint="the container's image is gone")
        return image

    def config(self, image_id: str) -> Mapping[str, Any]:
        """The parsed image config. Errors: NotFound, InvalidArgument (the store lost or damaged it)."""
        return self._views.config(image_id)

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
            self._table.put(
                *self._table.without((name,), image.id), replace(image, names=_union(image.names, (name,)))
            )
        self.announce("tag", image.id, name=self.naming.familiar(name))

    def remove(self, ref: str, force: bool) -> Removed:
        """See `Engine.image_remove`."""
        with self._lock:
            image = self.find(ref)
            coming = self._content.leases.protects(_use(image.id))  # before the users: then it is one of them
            plan = plan_removal(image, ref, self._reference(ref, image), self.users(), force=force)
            if plan.delete and coming and not force:
                raise Conflict(
                    f"conflict: unable to delete {image.id[7:19]} (must be forced) - a container is being made of it"
                )
            removed = self._apply(image, replace(plan, retire=plan.retire or (plan.delete and coming)))
        freed = self.garbage_collect().layers if removed.deleted else ()
        return Removed(removed.untagged, (*removed.deleted, *freed))

    def remove_unused(self, image_id: str) -> Removed | None:
        """Remove an image and all its names, unless a container or an operation in flight needs it: then None."""
        with self._lock:
            image = self._table.images.get(image_id)
            if image is None or self.in_use(image_id):
                return None
            return self._apply(image, Removal((*image.names, *image.digests), delete=True))

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

    def _apply(self, image: StoredImage, plan: Removal) -> Removed:
        with suppress(BarqueError):
            self.config(image.id)  # events tell its labels
        if not plan.delete:
            names = tuple(n for n in image.names if n not in plan.dropped)
            digests = tuple(d for d in image.digests if d not in plan.dropped)
            self._table.put(replace(image, names=names, digests=digests), freeing=True)
        elif plan.retire:
            self._table.put(replace(image, names=(), digests=(), retired=True), freeing=True)
        else:
            self._table.forget(image.id)
        for _ in plan.dropped:
            self.announce("untag", image.id)
        if plan.delete:
            self.announce("delete", image.id)
            self._views.forget(image.id)
        untagged = tuple(self.naming.familiar(reference) for reference in plan.dropped)
        return Removed(untagged, (image.id,) if plan.delete else ())

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
            known = self._table.images.get(image_id)
            new = known is None or any(name not in known.names for name in names)
            image = StoredImage(
                id=image_id,
                names=_union(known.names if known else (), names),
                digests=(*(d for d in (known.digests if known else ()) if d not in digests), *digests),
                manifest_digest=manifest_digest,
                manifest_type=resolved.manifest_type,
                layers=sized,
                platform=platform_of(parsed_config(image_id, resolved.config), platform),
                size=sum(layer.size for layer in sized),
                pulled_ns=time.time_ns(),
                used_ns=known.used_ns if known else 0,
            )
            self._table.put(*self._table.without((*names, *digests), image_id), image)
        if event:
            self.announce(event, image_id, reference=resolved.name if event == "pull" else "")
        return self.view(image), new

    def name(self, image_id: str, names: tuple[str, ...], event: str) -> Image | None:
        """Give an image that is here, and whole, further canonical names, and publish `event`; None when it is not."""
        layers = set(self._drivers.storage().list().layers)
        with self._lock:
            image = self._table.images.get(image_id)
            if image is None or image.damaged or not layers.issuperset(image.diff_ids):
                return None
            if not all(self._content.has(digest) for digest in image.blobs):
                return None
            named = replace(image, names=_union(image.names, names))
            self._table.put(*self._table.without(names, image_id), named)
        self.announce(event, image_id)
        return self.view(named)

    def replace(self, image: StoredImage, **fields: Any) -> None:
        """Change fields of the stored value, if the image still is there."""
        self._table.change(image.id, **fields)

    def adopt(self, image: StoredImage) -> None:
        """Put a rebuilt record in the place of one that cannot be read."""
        with self._lock:
            self._table.put(image)

    def drop_unreadable(self, image_id: str) -> None:
        """Forget a row that cannot be read. Idempotent."""
        with self._lock:
            self._table.forget(image_id)

    def touch(self, image_id: str) -> None:
        """A container was made of it or started. Costs nothing."""
        self._table.touch(image_id)

    def released(self, image_id: str) -> None:
        """A container of it was removed: an image that stayed for it alone goes, behind the caller."""
        self._table.touch(image_id)
        if image_id in self._table.retired:
            self.freed()

    def used_ns(self, image: StoredImage) -> int:
        """When it was used last, 0 for never."""
        return self._table.used_ns(image)

    def flush(self) -> None:
        """Write down when images were used. Errors: as the database."""
        self._table.flush()

    def garbage_collect(self, but: Lease | None = None) -> Freed:
        """Free layers and blobs that nothing needs; with `but`, also what only that lease holds. Idempotent.

        With a row of an image that cannot be read nothing is removed: who knows what it needs."""
        self._table.retire_unless(self.in_use)
        if self.unreadable:
            _log.warning(
                "nothing is freed: %d records of images are damaged (`barque system check --repair`)",
                len(self.unreadable),
            )
            return Freed()
        return self.garbage.collect(but)

    def announce(self, action: str, image_id: str, *, reference: str = "", name: str = "") -> None:
        """See `ImageViews.announce`."""
        self._views.announce(action, image_id, reference=reference, name=name)

    def view(self, image: StoredImage) -> Image:
        """See `ImageViews.view`."""
        return self._views.view(image, self.used_ns(image))


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _use(image_id: str) -> str:
    return f"use:{image_id}"


def _union(old: tuple[str, ...], new: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*old, *new)))
