"""Which mounts a container has: what was asked for, what comes from other containers, what its image declares; in Docker's order.

What is asked for at a place wins over what comes from another container there, and both over a volume of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from barque.engine.volumes.names import clean_path
from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.frontend import BindMount, ContainerConfig, ImageMount, VolumeMount

__all__ = ["resolve_mounts"]

_MAX_IMAGE_VOLUMES = 256
_MODES = {"": False, "rw": False, "ro": True}
_LABELS = ("z", "Z")

AnyMount = BindMount | VolumeMount | ImageMount


def resolve_mounts(
    config: ContainerConfig, declared: Any, other: Callable[[str], ContainerConfig]
) -> ContainerConfig:
    """The configuration with all of them. `declared` is what the image's configuration has as `Volumes`, whatever that is; `other`
    gives the resolved configuration of a container. Volumes without a name are still to be made.

    Errors: InvalidArgument (`Duplicate mount point: x`, `No such container: x`)."""
    asked = _by_target(
        (*config.binds, *(v for v in config.volumes if v.name), *config.image_mounts), config.tmpfs
    )
    mounts = {**_inherited(config, other), **asked}
    for target in config.tmpfs:
        mounts.pop(clean_path(target), None)
    unnamed = (*(v for v in config.volumes if not v.name), *_of_image(declared, config))
    for volume in unnamed:
        target = clean_path(volume.target)
        if target not in mounts and target not in {clean_path(t) for t in config.tmpfs}:
            mounts[target] = volume
    return replace(
        config,
        binds=tuple(m for m in mounts.values() if isinstance(m, BindMount)),
        volumes=tuple(m for m in mounts.values() if isinstance(m, VolumeMount)),
        image_mounts=tuple(m for m in mounts.values() if isinstance(m, ImageMount)),
    )


def _by_target(mounts: Iterable[AnyMount], tmpfs: Iterable[str]) -> dict[str, AnyMount]:
    found: dict[str, AnyMount] = {}
    taken = {clean_path(target) for target in tmpfs}
    for mount in mounts:
        target = clean_path(mount.target)
        if target in found or target in taken:
            raise InvalidArgument(f"Duplicate mount point: {target}")
        found[target] = mount
    return found


def _inherited(config: ContainerConfig, other: Callable[[str], ContainerConfig]) -> dict[str, AnyMount]:
    """Of `volumes_from`, the later ones over the earlier."""
    found: dict[str, AnyMount] = {}
    for text in config.volumes_from:
        ref, _, mode = text.partition(":")
        read_only = _read_only(mode)
        if not ref:
            raise InvalidArgument("volumes-from specification cannot be an empty string")
        try:
            theirs = other(ref)
        except (
            NotFound
        ) as error:  # a mistake in the request, as dockerd has it: clients would pull an image for a 404
            raise InvalidArgument(error.message, hint=error.hint) from None
        for bind in theirs.binds:
            found[clean_path(bind.target)] = replace(
                bind, read_only=bind.read_only or read_only, create_source=False
            )
        for volume in theirs.volumes:
            found[clean_path(volume.target)] = replace(
                volume, read_only=volume.read_only or read_only, copy=False, inherited=True
            )
        for image in theirs.image_mounts:
            found[clean_path(image.target)] = image
    return found


def _read_only(mode: str) -> bool:
    words = [word for word in mode.split(",") if word not in _LABELS]
    if len(words) > 1 or (words and words[0] not in _MODES):
        raise InvalidArgument(f"invalid mode: {mode}")
    return _MODES[words[0]] if words else False


def _of_image(declared: Any, config: ContainerConfig) -> list[VolumeMount]:
    """The volumes that the image declares. What it says is a stranger's: paths are made absolute, and cannot be the root."""
    if not isinstance(declared, Mapping):
        return []
    if len(declared) > _MAX_IMAGE_VOLUMES:
        raise InvalidArgument(
            f"the image declares {len(declared)} volumes; {_MAX_IMAGE_VOLUMES} are allowed",
            hint="build it with fewer VOLUME lines",
        )
    driver = _driver_of_all(config)
    volumes = []
    for path in declared:
        target = clean_path(path)
        if target == "/" or "\0" in target:
            raise InvalidArgument(
                f"invalid specification: destination can't be '/' in the image's volume {path!r}"
            )
        volumes.append(VolumeMount(target, driver=driver))
    return volumes


def _driver_of_all(config: ContainerConfig) -> str:
    """The driver that the request names for all its volumes (Docker's HostConfig.VolumeDriver), kept in its document."""
    host = config.document.get("HostConfig")
    return str(host.get("VolumeDriver") or "") if isinstance(host, Mapping) else ""
