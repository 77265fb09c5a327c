"""The images in an archive or layout, whoever wrote it: `index.json` (OCI), `manifest.json` (docker-archive), or both.

Where both are, OCI's is the better: it has the manifests under which the images were pulled. What only manifest.json
lists is added, and so are its RepoTags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from barque.spi import Descriptor, Platform
from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.image import BlobSink, ResolvedImage
from barque_image_archive.dockerformat import Entry, manifest_entries
from barque_image_archive.documents import missing
from barque_image_archive.files import Files
from barque_image_archive.names import canonical, split_tag
from barque_image_archive.ociformat import Leaf, Tagged, index_images
from barque_image_archive.platforms import rank

__all__ = ["Contents", "Listed"]

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Listed:
    """One image of an archive, for one platform or several. `names` are canonical; `labels` select it too, and name nothing."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    choices: tuple[Leaf | Entry, ...]


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Contents:
    """What is in `files`. `place` is what messages call it; `unpacked`: it was compressed, and opening it again is
    work; `blobs` tells the files of the layers of resolved images."""

    files: Files
    place: str
    images: tuple[Listed, ...]
    unpacked: bool = False
    blobs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, files: Files, place: str, *, unpacked: bool = False) -> Contents:
        """Errors: InvalidArgument (no image archive, or a broken one)."""
        try:
            images = _images(files)
        except NotFound as error:
            raise missing(error) from error
        if not images:
            raise InvalidArgument(
                f"{place} has no image: neither index.json nor manifest.json names one",
                hint="`docker import` makes an image of a tar of files",
            )
        return cls(files, place, images, unpacked)

    def select(self, selector: str) -> Listed:
        """By position (`@0`), label or name; the only one when `selector` is empty. Errors: NotFound, InvalidArgument."""
        if not selector:
            return self._only()
        found = self._numbered(selector[1:]) if selector.startswith("@") else self._named(selector)
        if found is None:
            raise NotFound(f"{self.place} has no image {selector}", hint=f"it has {self._told()}")
        return found

    def resolve(self, image: Listed, platform: Platform) -> ResolvedImage:
        """The image for the platform. Errors: NotFound (none for it), InvalidArgument."""
        try:
            choice = _best(self.files, image.choices, platform)
            found = choice.read(self.files) if choice else None
        except NotFound as error:
            raise missing(error) from error
        if found is None:
            raise NotFound(f"{self.place} has no image for {platform}", hint=self._platforms(image))
        self.blobs.update(found.blobs)
        return ResolvedImage(
            name=image.names[0] if image.names else "",
            repository_digest="",
            manifest=found.manifest,
            manifest_type=found.manifest_type,
            config=found.config,
            layers=found.layers,
            source=self,
            names=image.names,
        )

    def copy(self, layer: Descriptor, sink: BlobSink) -> None:
        """Write a layer of a resolved image from the sink's offset on. Errors: NotFound, InvalidArgument."""
        name = self.blobs.get(layer.digest)
        if name is None:
            raise NotFound(f"{layer.digest} is not in {self.place}")
        with self.files.open(name) as extent:
            if extent.size != layer.size:
                raise InvalidArgument(
                    f"layer {layer.digest} has {extent.size} bytes in {self.place}, its manifest says {layer.size}"
                )
            for piece in extent.pieces(sink.offset, _PIECE):
                sink.write(piece)

    def _numbered(self, digits: str) -> Listed | None:
        if not (digits.isascii() and digits.isdigit()):
            raise InvalidArgument("invalid reference format", hint=f"{digits[:100]!r} is not a number")
        return self.images[int(digits)] if len(digits) < 6 and int(digits) < len(self.images) else None

    def _named(self, selector: str) -> Listed | None:
        """What is asked for by a name gets this one only."""
        labelled = next((image for image in self.images if selector in image.labels), None)
        try:
            name = canonical(selector) if split_tag(selector)[1] or labelled is None else ""
        except InvalidArgument:
            if labelled is None:
                raise
            name = ""  # what an index says may be no image name
        named = next((image for image in self.images if name in image.names), None)
        return replace(named, names=(name,)) if named else labelled

    def _only(self) -> Listed:
        if len(self.images) > 1:
            raise InvalidArgument(
                f"{self.place} has {len(self.images)} images: {self._told()}",
                hint="say which, by name or number",
            )
        return self.images[0]

    def _told(self) -> str:
        shown = [(*image.names, *image.labels, f"number {n}")[0] for n, image in enumerate(self.images)]
        return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")

    def _platforms(self, image: Listed) -> str:
        found = dict.fromkeys(str(choice.platform(self.files)) for choice in image.choices[:16])
        return f"it is there for {', '.join(found)}"


def _images(files: Files) -> tuple[Listed, ...]:
    tagged = index_images(files) if files.has("index.json") else []
    entries = manifest_entries(files) if files.has("manifest.json") else []
    configs = _configs(files, tagged) if entries else []
    alone = [entry for entry in entries if not _joined(files, entry, configs)]
    return (
        *(Listed(tuple(image.names), tuple(image.labels), image.leaves) for image in tagged),
        *(Listed(entry.names, (), (entry,)) for entry in alone),
    )


def _configs(files: Files, tagged: Sequence[Tagged]) -> list[tuple[Tagged, set[str]]]:
    """The images of index.json with the digests of their configs. Each manifest is read once, however many entries are compared."""
    leaves = {leaf.node.descriptor.digest: leaf for image in tagged for leaf in image.leaves}
    found = {digest: leaf.config_digest(files) for digest, leaf in leaves.items()}
    return [(image, {found[leaf.node.descriptor.digest] for leaf in image.leaves}) for image in tagged]


def _joined(files: Files, entry: Entry, configs: Sequence[tuple[Tagged, set[str]]]) -> bool:
    """Give the names of an entry of manifest.json to the same image of index.json, if it is there."""
    digest = entry.config_digest(files) if configs else ""
    for image, digests in configs:
        if digest in digests:
            image.names.extend(name for name in entry.names if name not in image.names)
            return True
    return False


def _best(files: Files, choices: Sequence[Leaf | Entry], platform: Platform) -> Leaf | Entry | None:
    ranked = [(rank(choice.platform(files), platform), choice) for choice in choices]
    suitable = [(found, choice) for found, choice in ranked if found is not None]
    return min(suitable, key=lambda pair: pair[0])[1] if suitable else None
