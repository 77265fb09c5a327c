"""The mounts of a container that starts: entries of its OCI spec, and what its shim makes ready for them in its own mount namespace.

Nothing but what volume drivers mount is ever mounted in the host's namespace. A directory within a volume (`subpath`) is found by
the shim, by descriptor: another container that has the volume may swap it for a link at any moment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from barque.engine.core import Core
from barque.engine.records import StoredContainer
from barque.engine.volumes.attached import image_mount_key
from barque.oci.mountlist import read_only_word
from barque.spi.errors import BarqueError, FailedPrecondition, InvalidArgument, NotFound
from barque.spi.frontend import BindMount, ImageMount, VolumeMount
from barque.spi.trees.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

__all__ = ["Bound", "bind_mounts"]

_SHARED = ("shared", "rshared")
_SLAVE = ("slave", "rslave")
_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(slots=True)
class Bound:
    """`mounts` as the OCI spec has them; `sources`: see `ShimConfig.sources`."""

    mounts: list[dict[str, Any]] = field(default_factory=list)
    sources: list[Mapping[str, Any]] = field(default_factory=list)


def bind_mounts(core: Core, stored: StoredContainer) -> Bound:
    """Mount its volumes and say how they come into the container. Errors: NotFound, FailedPrecondition, the drivers'."""
    bound = Bound(sources=_shared_sources(stored.config.binds))
    places = Path(core.layout.bundle(stored.id), "mounts")
    for number, volume in enumerate(stored.config.volumes):
        _bind_volume(core, stored.id, volume, places / f"volume-{number}", bound)
    for number, image in enumerate(stored.config.image_mounts):
        storage = core.drivers.storage(stored.storage)
        parts = storage.mounts(image_mount_key(stored.id, number))
        _bind_image(image, parts, places / f"image-{number}", bound)
    if any("subpath" in source or "mounts" in source for source in bound.sources):
        places.mkdir(mode=0o700, parents=True, exist_ok=True)
    return bound


def _bind_volume(core: Core, id: str, volume: VolumeMount, place: Path, bound: Bound) -> None:
    path = core.volumes.mount(volume.name, id)
    if volume.subpath:
        _check_subpath(path, volume.subpath)
        bound.sources.append({"place": str(place), "root": path, "subpath": volume.subpath})
        path = str(place)
    access = read_only_word("try") if volume.read_only else "rw"
    bound.mounts.append(_entry(volume.target, path, volume.propagation or "rprivate", access))


def _bind_image(image: ImageMount, parts: tuple[Any, ...], place: Path, bound: Bound) -> None:
    bound.sources.append({"place": str(place), "mounts": [asdict(part) for part in parts]})
    path = str(place)
    if image.subpath:
        path = f"{place}-part"
        bound.sources.append({"place": path, "root": str(place), "subpath": image.subpath})
    bound.mounts.append(_entry(image.target, path, "rprivate", "ro"))


def _entry(target: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": "bind", "source": source, "options": ["rbind", *options]}


def _check_subpath(root: str, subpath: str) -> None:
    """Say early, in words, what the shim would find. Errors: NotFound, InvalidArgument."""
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(openat2(root_fd, os.fsencode(subpath), os.O_PATH, _RESOLVE))
    except FileNotFoundError:
        raise NotFound(
            f"cannot access path {os.path.join(root, subpath)}: no such file or directory",
            hint="make the subpath in the volume first",
        ) from None
    except OSError as error:
        raise InvalidArgument(
            f"cannot access path {os.path.join(root, subpath)}: {(error.strerror or '').lower()}"
        ) from None
    finally:
        os.close(root_fd)


def _shared_sources(binds: tuple[BindMount, ...]) -> list[Mapping[str, Any]]:
    """Of the bind mounts those that tell the host, or are told by it. Errors: FailedPrecondition (Docker's words)."""
    wanted = [bind for bind in binds if bind.propagation in (*_SHARED, *_SLAVE)]
    if not wanted:
        return []
    table = _mount_table()
    for bind in wanted:
        _check_propagation(bind, table)
    return [
        {"place": bind.source, "root": bind.source, "shared": True}
        for bind in wanted
        if bind.propagation in _SHARED
    ]


def _check_propagation(bind: BindMount, table: dict[str, str]) -> None:
    source = os.path.realpath(bind.source)
    point = source
    while point not in table:
        point = os.path.dirname(point)
    fields = table[point]
    if bind.propagation in _SHARED and "shared:" not in fields:
        raise _not(bind, point, "a shared mount")
    if bind.propagation in _SLAVE and "shared:" not in fields and "master:" not in fields:
        raise _not(bind, point, "a shared or slave mount")


def _not(bind: BindMount, point: str, what: str) -> BarqueError:
    return FailedPrecondition(
        f"path {bind.source} is mounted on {point} but it is not {what}",
        hint=f"`mount --make-rshared {point}` makes it one",
    )


def _mount_table() -> dict[str, str]:
    """Mount points with their optional fields; of several on one point the topmost (proc(5), mountinfo)."""
    found = {"/": ""}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            words = line.partition(" - ")[0].split(" ")
            point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), words[4])
            found[point] = " ".join(words[6:])
    return found
