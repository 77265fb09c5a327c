"""What `docker rmi` does to an image: which references go, whether the image goes, or why not. dockerd's rules and words.

A reference is a name (`repository:tag`) or a digest (`repository@sha256:…`). Removing the last name of a repository takes the
repository's digests along. An image without references is deleted, unless a container uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from barque.engine.images.rows import StoredImage, repository_of
from barque.spi.errors import Conflict

__all__ = ["Removal", "User", "plan_removal"]

User = tuple[str, str, bool]
"""(container id, image id, running)"""


@dataclass(frozen=True, slots=True)
class Removal:
    """References in the order they are `dropped`, and whether the image is to be deleted (`retire`: as far as anybody sees, since
    stopped containers are made of it)."""

    dropped: tuple[str, ...]
    delete: bool
    retire: bool = False


def plan_removal(
    image: StoredImage, ref: str, reference: str, users: Sequence[User], *, force: bool
) -> Removal:
    """What to do for `docker rmi [--force] ref`. `reference` is the canonical name or digest that `ref` is, empty when it is an id.
    Errors: Conflict."""
    using = [user for user in users if user[1] == image.id]
    if reference:
        return _by_reference(image, ref, reference, using, force=force)
    return _by_id(image, using, force=force)


def _by_reference(image: StoredImage, ref: str, reference: str, using: list[User], *, force: bool) -> Removal:
    references = (*image.names, *image.digests)
    if using and not force and _single(image):
        raise Conflict(
            f'conflict: unable to remove repository reference "{ref}" (must force) - '
            f"container {using[0][0][:12]} is using its referenced image {image.id[7:19]}"
        )
    dropped = [reference]
    rest = [r for r in references if r != reference]
    if "@sha256:" not in reference:
        repository = repository_of(reference)
        if not any(repository_of(name) == repository for name in image.names if name != reference):
            dropped += [r for r in rest if "@sha256:" in r and repository_of(r) == repository]
    if len(dropped) < len(references):
        return Removal(tuple(dropped), delete=False)
    if any(running for _, _, running in using):
        return Removal(tuple(dropped), delete=False)  # it stays, without a name, until the container is gone
    return Removal(tuple(dropped), delete=True, retire=bool(using))


def _by_id(image: StoredImage, using: list[User], *, force: bool) -> Removal:
    running = next((id for id, _, runs in using if runs), "")
    if running:
        raise _conflict(image, "cannot be forced", f"image is being used by running container {running[:12]}")
    if not force and not _single(image):
        raise _conflict(image, "must be forced", "image is referenced in multiple repositories")
    if not force and using:
        raise _conflict(
            image, "must be forced", f"image is being used by stopped container {using[0][0][:12]}"
        )
    return Removal((*image.names, *image.digests), delete=True, retire=bool(using))


def _single(image: StoredImage) -> bool:
    """At most one name, and all references in one repository."""
    repositories = {repository_of(r) for r in (*image.names, *image.digests)}
    return len(image.names) <= 1 and len(repositories) <= 1


def _conflict(image: StoredImage, how: str, why: str) -> Conflict:
    return Conflict(f"conflict: unable to delete {image.id[7:19]} ({how}) - {why}")
