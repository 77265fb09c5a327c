"""Images as OCI layouts have them: `index.json`, further indexes, manifests, blobs by digest (image-spec, image-layout)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from barque.spi import Descriptor, Platform
from barque.spi.errors import InvalidArgument
from barque_image_archive.documents import (
    INDEXES,
    Node,
    blob_name,
    config_platform,
    diff_ids,
    read_manifest,
    read_nodes,
    read_object,
    verified,
)
from barque_image_archive.files import Files, read_document
from barque_image_archive.names import canonical, split_tag

__all__ = ["Found", "Leaf", "Tagged", "index_images"]

_CONTAINERD_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_DEEPEST = 4
_MOST_LEAVES = 1024
_MOST_STEPS = 16_384


@dataclass(frozen=True, slots=True)
class Found:
    """An image's documents and layers; `blobs`: the file of each layer by digest."""

    manifest: bytes
    manifest_type: str
    config: bytes
    layers: tuple[Descriptor, ...]
    blobs: dict[str, str]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A manifest in a layout."""

    node: Node

    def platform(self, files: Files) -> Platform:
        """What the index says, or the config. Errors: NotFound, InvalidArgument."""
        if self.node.platform is not None:
            return self.node.platform
        return config_platform(read_object(self.read(files).config, "image config"))

    def config_digest(self, files: Files) -> str:
        """The image's id. Errors: NotFound, InvalidArgument."""
        descriptor = self.node.descriptor
        return read_manifest(verified(files, descriptor), descriptor.media_type).config.digest

    def read(self, files: Files) -> Found:
        """Manifest and config, verified. Errors: NotFound, InvalidArgument."""
        data = verified(files, self.node.descriptor)
        manifest = read_manifest(data, self.node.descriptor.media_type)
        config = verified(files, manifest.config)
        if len(diff_ids(read_object(config, "image config"))) != len(manifest.layers):
            raise InvalidArgument("the manifest and the config disagree about the number of layers")
        blobs = {layer.digest: blob_name(layer.digest) for layer in manifest.layers}
        return Found(data, self.node.descriptor.media_type, config, manifest.layers, blobs)


@dataclass(slots=True)
class Tagged:
    """An entry of index.json: its manifests that are there, canonical `names`, and `labels` that are no names."""

    leaves: tuple[Leaf, ...]
    names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def index_images(files: Files) -> list[Tagged]:
    """The images of index.json; entries of one digest are one image with several names. Errors: NotFound, InvalidArgument."""
    images: dict[str, Tagged] = {}
    tree = _Tree(files)
    for node in read_nodes(read_document(files, "index.json"), "index.json"):
        digest = node.descriptor.digest
        if digest not in images:
            leaves = tuple(tree.leaves(node, _DEEPEST))
            if not leaves:
                continue
            images[digest] = Tagged(leaves)
        _name(images[digest], node)
    if sum(len(image.leaves) for image in images.values()) > _MOST_LEAVES:
        raise InvalidArgument(f"the archive has more than {_MOST_LEAVES} manifests")
    return list(images.values())


class _Tree:
    """The indexes of an archive, each read once. An index may name another a thousand times, and that one a third: the steps are
    counted, not the files."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._read: dict[str, tuple[Node, ...]] = {}
        self._steps = 0

    def leaves(self, node: Node, depth: int) -> Iterator[Leaf]:
        """All manifests under a node that are there: `docker save` keeps an index of which it has a part only."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise InvalidArgument(f"the indexes of the archive name more than {_MOST_STEPS} manifests")
        if not self._files.has(blob_name(node.descriptor.digest)):
            return
        if node.descriptor.media_type not in INDEXES:
            yield Leaf(node)
            return
        if depth == 0:
            raise InvalidArgument(f"the archive has indexes nested deeper than {_DEEPEST} levels")
        for child in self._children(node.descriptor):
            yield from self.leaves(child, depth - 1)

    def _children(self, index: Descriptor) -> tuple[Node, ...]:
        found = self._read.get(index.digest)
        if found is None:
            found = self._read[index.digest] = read_nodes(verified(self._files, index), "index")
        return found


def _name(image: Tagged, node: Node) -> None:
    """Names by annotations. containerd's is a whole name; OCI's may be one, or a tag alone, which names no repository."""
    annotations = node.descriptor.annotations
    whole, label = annotations.get(_CONTAINERD_NAME, ""), annotations.get(_REF_NAME, "")
    if whole and "@" not in whole:
        _add(image.names, canonical(whole))
    elif split_tag(label)[1] and "@" not in label:
        with suppress(InvalidArgument):  # the specification allows it, and still it is no image name: a label
            _add(image.names, canonical(label))
    if label:
        _add(image.labels, label)


def _add(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)
