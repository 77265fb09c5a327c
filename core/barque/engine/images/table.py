"""The table of images: in memory, and each change in the database first."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from barque.engine.images.rows import StoredImage, decode, encode
from barque.store.database import Database, Transaction

__all__ = ["ImageTable"]

_log = logging.getLogger(__name__)


class ImageTable:
    """Images by id. `retired` ones are those of `StoredImage`; `unreadable` are documents that are no image. `lock` guards all of it
    and is held by the caller of `put`, `forget` and `without`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.lock = threading.RLock()
        self.images: dict[str, StoredImage] = {}
        self.retired: dict[str, StoredImage] = {}
        self.unreadable: dict[str, str] = {}
        self._used: dict[str, int] = {}
        self._needs: frozenset[str] | None = None

    def load(self) -> None:
        """Read all images from the database. Errors: FailedPrecondition (it is corrupt)."""
        for id, document in self._database.all("images"):
            try:
                image = decode(document)
            except ValueError as error:
                _log.error("image %s: its record is damaged and it is left out: %s", id, error)
                self.unreadable[id] = document
                continue
            (self.retired if image.retired else self.images)[id] = image

    def put(self, *images: StoredImage, freeing: bool = False) -> None:
        """All of them in one transaction: a name is never lost on its way from one image to another. `freeing`: as of `Database`."""

        def write(change: Transaction) -> None:
            for image in images:
                change.put("images", image.id, encode(image))

        if freeing:
            self._database.freeing(write)
        else:
            with self._database.transaction() as change:
                write(change)
        for image in images:
            mine, other = (self.retired, self.images) if image.retired else (self.images, self.retired)
            mine[image.id] = image
            other.pop(image.id, None)
            self.unreadable.pop(image.id, None)
        self._needs = None

    def forget(self, image_id: str) -> None:
        """Delete a row, readable or not. Idempotent."""
        self._database.delete("images", image_id)
        self.images.pop(image_id, None)
        self.retired.pop(image_id, None)
        self.unreadable.pop(image_id, None)
        self._used.pop(image_id, None)
        self._needs = None

    def without(self, references: Iterable[str], new_owner: str) -> list[StoredImage]:
        """References are unique: the images that have some of these, as they are without them."""
        wanted = set(references)
        return [
            replace(
                image,
                names=tuple(n for n in image.names if n not in wanted),
                digests=tuple(d for d in image.digests if d not in wanted),
            )
            for image in self.images.values()
            if image.id != new_owner and wanted.intersection((*image.names, *image.digests))
        ]

    def needs(self) -> frozenset[str]:
        """Digests and diff ids that some image needs. The caller holds the lock."""
        if self._needs is None:
            images = (*self.images.values(), *self.retired.values())
            self._needs = frozenset().union(*(image.needs for image in images))
        return self._needs

    def change(self, image_id: str, **fields: Any) -> None:
        """Replace fields of an image, if it still is there."""
        with self.lock:
            image = self.images.get(image_id)
            if image is not None:
                self.put(replace(image, **fields))

    def touch(self, image_id: str) -> None:
        """It was used now. In memory: no `docker run` waits for a disk because of it; `flush` keeps it."""
        self._used[image_id] = time.time_ns()

    def used_ns(self, image: StoredImage) -> int:
        """When it was used last, 0 for never."""
        return max(image.used_ns, self._used.get(image.id, 0))

    def flush(self) -> None:
        """Write down when images were used. Errors: as the database (then it is tried again the next time)."""
        with self.lock:
            used = {id: when for id, when in tuple(self._used.items()) if id in self.images}
            if used:
                self.put(*(replace(self.images[id], used_ns=when) for id, when in used.items()))
            self._used = {id: when for id, when in tuple(self._used.items()) if used.get(id) != when}

    def retire_unless(self, in_use: Callable[[str], bool]) -> None:
        """Forget the retired images that nobody uses any more."""
        with self.lock:
            for image_id in [id for id in self.retired if not in_use(id)]:
                self.forget(image_id)
