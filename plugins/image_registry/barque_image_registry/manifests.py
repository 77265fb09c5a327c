"""Manifests of a repository: fetched, verified, and the one for a platform found, also within indexes of indexes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from barque.spi import Descriptor, Platform
from barque.spi.errors import InvalidArgument, NotFound
from barque_image_registry.client import RegistryClient, Repository
from barque_image_registry.documents import ACCEPT, Index, Manifest, read_document
from barque_image_registry.platforms import best, suits
from barque_image_registry.reference import is_digest
from barque_image_registry.transport import Reply
from barque_image_registry.wire import Check

__all__ = ["Document", "bounded", "choose", "document"]

_LARGEST_MANIFEST = 4 << 20
_OK = frozenset({200})
_DEEPEST = 4
_MOST_INDEXES = 16


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index: its exact bytes, their digest, and what they say."""

    data: bytes
    digest: str
    parsed: Manifest | Index


def document(
    client: RegistryClient, repository: Repository, pointer: str, digest: str, check: Check
) -> Document:
    """What `pointer` (a tag or digest) names; `digest` is what it must have, if known. InvalidArgument for another."""

    def read() -> tuple[bytes, str, str]:
        with client.get(repository, f"manifests/{pointer}", {"Accept": ACCEPT}, _OK, check) as reply:
            data = bounded(reply, _LARGEST_MANIFEST, f"manifest {pointer}")
            return (
                data,
                reply.headers.get("Content-Type", ""),
                reply.headers.get("Docker-Content-Digest", ""),
            )

    data, content_type, announced = client.retrying(read, check)
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    wanted = digest or (announced if is_digest(announced) else found)
    if found != wanted:
        raise InvalidArgument(
            f"manifest verification failed for digest {wanted}: it is {found}",
            hint="the registry is broken or hostile",
        )
    return Document(data, found, read_document(data, content_type))


def choose(
    client: RegistryClient, repository: Repository, top: Document, platform: Platform, check: Check
) -> Document:
    """The manifest for `platform`: `top` itself, or one an index names. A nearer index goes before what it contains.

    Errors: NotFound (none for the platform), InvalidArgument (indexes too deep or too many).
    """
    for found in _levels(client, repository, top, platform, check):
        assert isinstance(found.parsed, Index)
        choice = best(found.parsed.choices, platform)
        if choice is not None:
            return _named(client, repository, choice.descriptor, check)
    if isinstance(top.parsed, Manifest):
        return top
    raise NotFound(
        f"no matching manifest for {platform} in the manifest list entries",
        hint=f"{repository.subject.image} has no image for this platform",
    )


def bounded(reply: Reply, limit: int, what: str) -> bytes:
    """The body. InvalidArgument when it is longer than `limit`."""
    data = reply.read_at_most(limit)
    if data is None:
        raise InvalidArgument(f"{what} is larger than {limit} bytes")
    return data


def _levels(
    client: RegistryClient, repository: Repository, top: Document, platform: Platform, check: Check
) -> Iterator[Document]:
    """All indexes that may have something for `platform`, level by level."""
    level, fetched = [top] if isinstance(top.parsed, Index) else [], 0
    for depth in range(_DEEPEST + 1):
        yield from level
        below = {
            item.descriptor.digest: item.descriptor
            for index in level
            if isinstance(index.parsed, Index)
            for item in index.parsed.indexes
            if not item.os or suits(item.os, item.architecture, item.variant, platform)
        }
        fetched += len(below)
        if below and (depth == _DEEPEST or fetched > _MOST_INDEXES):
            raise InvalidArgument(
                f"{repository.subject.image}: indexes within indexes, deeper than {_DEEPEST} or more than {_MOST_INDEXES}"
            )
        level = [_named(client, repository, descriptor, check) for descriptor in below.values()]


def _named(client: RegistryClient, repository: Repository, descriptor: Descriptor, check: Check) -> Document:
    """What an index describes; it must be what the index says."""
    found = document(client, repository, descriptor.digest, descriptor.digest, check)
    if len(found.data) != descriptor.size or found.parsed.media_type != descriptor.media_type:
        raise InvalidArgument(
            f"manifest {descriptor.digest}: size or media type differ from what the index says",
            hint="the image is broken at its source",
        )
    return found
