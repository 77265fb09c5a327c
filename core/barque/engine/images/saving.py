"""`docker save`: which images under which names, and that all of them is there and right before the first byte is written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from barque.engine.core import Core
from barque.engine.images.rows import repository_of
from barque.engine.images.service import StoredImage
from barque.spi.common import Descriptor
from barque.spi.errors import BarqueError, InvalidArgument, NotFound
from barque.spi.image import SavedImage

__all__ = ["Saver"]

_HEX = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}")
Write = Callable[[bytes], object]


class Saver:
    """Writes archives with the first image source that can (capability `save`)."""

    def __init__(self, core: Core, source: str) -> None:
        self._core, self._source = core, source

    def save(self, refs: tuple[str, ...], write: Write) -> None:
        """See `ContentOperations.image_save`. Every blob is read twice: a damaged one is told by its digest, in place of an archive
        that ends somewhere."""
        if not refs:
            raise InvalidArgument("no image is named")
        driver = self._core.drivers.image(self._source)
        chosen = self._chosen(refs)
        with self._core.images.leased(blob for image, _ in chosen.values() for blob in image.blobs):
            images = tuple(self._saved(image, names) for image, names in chosen.values())
            for digest in dict.fromkeys(layer.digest for image in images for layer in image.layers):
                for _ in self._core.content.chunks(digest):
                    pass
            driver.save(images, self._core.content, write)
        for image_id in chosen:
            self._core.images.announce("save", image_id)

    def _chosen(self, refs: tuple[str, ...]) -> dict[str, tuple[StoredImage, list[str]]]:
        """Images by id, each once, with the names that were asked for. Errors: NotFound (`No such image: REF`)."""
        chosen: dict[str, tuple[StoredImage, list[str]]] = {}
        for ref in refs:
            for image, names in self._found(ref):
                kept = chosen.setdefault(image.id, (image, []))[1]
                kept.extend(name for name in names if name not in kept)
        return chosen

    def _found(self, ref: str) -> list[tuple[StoredImage, list[str]]]:
        """A repository stands for all its tags, a name for itself; an id or a digest gives no name."""
        repository = self._bare_repository(ref)
        if repository:
            tagged = [
                (image, [name for name in image.names if repository_of(name) == repository])
                for image in self._core.images.stored()
            ]
            found = [(image, names) for image, names in tagged if names]
            if found:
                return found
        try:
            image = self._core.images.find(ref)
        except NotFound as error:
            raise self._explained(ref, error) from error
        return [(image, [name for name in image.names if name == self._canonical(ref)])]

    def _explained(self, ref: str, error: NotFound) -> BarqueError:
        """Docker has words of its own here for what is no name, and for a name with a tag."""
        if not self._core.images.naming.split_scheme(ref)[0] and not _HEX.fullmatch(ref):
            self._core.images.naming.parse(ref)
            if ":" in ref.rpartition("/")[2]:
                return NotFound("reference does not exist", hint=error.message)
        return error

    def _bare_repository(self, ref: str) -> str:
        """The canonical repository that `ref` names without a tag or digest; else ""."""
        canonical = self._canonical(ref)
        bare = canonical and "@" not in ref and ":" not in ref.rpartition("/")[2]
        return repository_of(canonical) if bare else ""

    def _canonical(self, ref: str) -> str:
        """As a registry's name, or "". A name with a scheme is no registry's: nobody else could read it."""
        try:
            return self._core.images.naming.parse(ref).name
        except BarqueError:
            return ""

    def _saved(self, image: StoredImage, names: list[str]) -> SavedImage:
        """Its documents, verified. Errors: NotFound, InvalidArgument: they name the digest."""
        content = self._core.content
        manifest = content.read(image.manifest_digest)
        layers = tuple(
            Descriptor(str(item["mediaType"]), str(item["digest"]), int(item["size"]))
            for item in json.loads(manifest)["layers"]
        )
        for layer in layers:
            if content.size(layer.digest) != layer.size:
                raise InvalidArgument(
                    f"content {layer.digest} is damaged",
                    hint="`barque system check --repair` takes it away; then pull the image again",
                )
        return SavedImage(
            names=tuple(sorted(names)),
            manifest=manifest,
            manifest_type=image.manifest_type,
            config=content.read(image.id),
            layers=layers,
            diff_ids=image.diff_ids,
        )
