"""Every blob in the store, hashed again; and blobs that images need and that are not there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress

from barque.engine.core import Core
from barque.engine.images.lanes import Lanes
from barque.engine.images.rows import StoredImage
from barque.spi.common import Progress, ProgressSink
from barque.spi.content import Finding
from barque.spi.errors import NotFound

__all__ = ["check_blobs"]

_PARALLEL = 2  # hashing is in C without the GIL; more would take the processors from everybody else
_PULL = "pull or load the image again"


def check_blobs(core: Core, stored: list[StoredImage], repair: bool, progress: ProgressSink) -> list[Finding]:
    """What is wrong with blobs. With `repair` damaged ones are taken away: the next pull brings them."""
    users: defaultdict[str, list[str]] = defaultdict(list)
    for image in stored:
        for digest in dict.fromkeys(image.blobs):
            users[digest].append(image.id)
    present = sorted(core.content.digests())
    damaged = _damaged(core, present, progress)
    found = []
    for digest in damaged:
        if repair:
            core.content.discard(digest)
        action = f"removed: {_PULL}" if repair else ""
        found.append(Finding("blob", digest, "it is damaged", tuple(users.get(digest, ())), repair, action))
    missing = sorted(set(users).difference(present))
    found += [
        Finding("blob", digest, "it is missing", tuple(users[digest]), action=_PULL)
        for digest in missing
        if not core.content.has(digest)
    ]
    return found


def _damaged(core: Core, digests: list[str], progress: ProgressSink) -> list[str]:
    damaged: list[str] = []

    def job(number: int, digest: str) -> Callable[[], None]:
        def verify() -> None:
            progress(Progress(digest[7:19], "Verifying blob", number, len(digests)))
            with suppress(NotFound):  # removed meanwhile
                if not core.content.intact(digest):
                    damaged.append(digest)

        return verify

    lanes = Lanes(_PARALLEL, "check", lambda: None)
    for number, digest in enumerate(digests, 1):
        lanes.add(job(number, digest))
    for error in lanes.run():
        raise error
    return sorted(damaged)
