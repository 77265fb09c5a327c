"""The mounts of a container as inspect and ps show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from barque.spi.errors import InvalidArgument
from barque.spi.frontend import Container, VolumeMount
from barque_api_docker.translate.mounts import bind_parts, clean_path

__all__ = ["declared_volumes", "mount_points"]


def mount_points(container: Container) -> list[dict[str, Any]]:
    """`Mounts` of inspect and ps. (A `--tmpfs` is not among them, as in Docker; one of `HostConfig.Mounts` is.)"""
    config = container.config
    if not (config.binds or config.volumes or config.image_mounts or config.tmpfs):
        return []
    host = config.document.get("HostConfig") or {}
    modes, wanted = _modes(host), _wanted(host)
    points = [
        {
            "Type": "bind",
            "Source": bind.source,
            "Destination": bind.target,
            "Mode": modes.get(bind.target, ""),
            "RW": not bind.read_only,
            "Propagation": bind.propagation,
        }
        for bind in config.binds
    ]
    points += (_volume(container, volume, modes, wanted) for volume in config.volumes)
    points += (
        {
            "Type": "image",
            "Name": wanted.get(image.target, {}).get("Source") or image.image,
            "Source": "",
            "Destination": image.target,
            "Mode": "",
            "RW": False,
            "Propagation": "",
        }
        for image in config.image_mounts
    )
    points += (_tmpfs(target, mount) for target, mount in wanted.items() if mount.get("Type") == "tmpfs")
    return points


def _volume(
    container: Container, volume: VolumeMount, modes: Mapping[str, str], wanted: Mapping[str, Any]
) -> dict[str, Any]:
    asked = not volume.anonymous or volume.target in wanted or volume.target in modes
    return {
        "Type": "volume",
        "Name": volume.name,
        "Source": container.mounts.get(volume.target, ""),
        "Destination": volume.target,
        "Driver": volume.driver,
        "Mode": modes.get(volume.target) or ("z" if asked and volume.driver == "local" else ""),
        "RW": not volume.read_only,
        "Propagation": volume.propagation,
    }


def _tmpfs(target: str, mount: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Type": "tmpfs",
        "Source": "",
        "Destination": target,
        "Mode": "",
        "RW": not mount.get("ReadOnly"),
        "Propagation": "",
    }


def _modes(host: Mapping[str, Any]) -> dict[str, str]:
    """The modes of `Binds` by target, as they were sent; they were read once already."""
    found = {}
    for text in host.get("Binds") or ():
        try:
            _source, target, mode = bind_parts(text)
        except InvalidArgument:
            continue
        found[clean_path(target)] = mode
    return found


def _wanted(host: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """`Mounts` as they were sent, by target."""
    return {clean_path(str(mount.get("Target"))): mount for mount in host.get("Mounts") or ()}


def declared_volumes(container: Container) -> dict[str, dict[str, str]] | None:
    """`Config.Volumes`: what the request named there, and what the image declares and nothing else was mounted on."""
    config = container.config
    if not config.volumes and "Volumes" not in config.document:
        return None
    wanted = _wanted(config.document.get("HostConfig") or {})
    sent = config.document.get("Volumes") or ()
    known = {*wanted, *map(clean_path, sent)}
    own = (v.target for v in config.volumes if v.anonymous and not v.inherited and v.target not in known)
    return {target: {} for target in (*sent, *own)} or None
