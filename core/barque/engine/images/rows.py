"""What the database keeps of images."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter

from barque.spi.common import Platform

__all__ = ["StoredImage", "StoredLayer", "decode", "encode", "repository_of"]


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer: its blob, what it unpacks to, and the bytes of that on disk."""

    digest: str
    diff_id: str
    size: int


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image. `names` and `digests` (`repository@digest`) are canonical. `damaged`: what `check` found. `retired`: removed by the
    user while stopped containers use it; it is no image any more, and goes with the last of them."""

    id: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    manifest_digest: str
    manifest_type: str
    layers: tuple[StoredLayer, ...]
    platform: Platform
    size: int
    pulled_ns: int
    used_ns: int = 0
    damaged: str = ""
    retired: bool = False

    @property
    def blobs(self) -> tuple[str, ...]:
        """Digests of all blobs: config, manifest, layers."""
        return (self.id, self.manifest_digest, *(layer.digest for layer in self.layers))

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Of its layers, bottom first."""
        return tuple(layer.diff_id for layer in self.layers)

    @property
    def needs(self) -> frozenset[str]:
        """All that the store must keep for it."""
        return frozenset((*self.blobs, *self.diff_ids))


_adapter: TypeAdapter[StoredImage] = TypeAdapter(StoredImage)


def encode(image: StoredImage) -> str:
    """As the JSON document of the database."""
    return _adapter.dump_json(image).decode()


def decode(document: str) -> StoredImage:
    """The inverse of `encode`; also of rows that an earlier Barque wrote. Errors: ValueError (pydantic's)."""
    return _adapter.validate_json(document)


def repository_of(name: str) -> str:
    """Of a canonical `repository:tag` or `repository@digest`."""
    repository = name.partition("@")[0]
    return repository.rpartition(":")[0] if ":" in repository.rpartition("/")[2] else repository
