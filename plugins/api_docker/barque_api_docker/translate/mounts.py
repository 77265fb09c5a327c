"""Mounts: `HostConfig.Binds`, `.Mounts` and `.Tmpfs` to the engine's, and a container's back."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

from barque.spi.errors import InvalidArgument, NotImplemented
from barque.spi.frontend import BindMount, Container
from barque_api_docker.fields import Fields

__all__ = ["bind_mounts", "mount_points", "tmpfs_mounts"]

_PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
# SELinux labels and the consistency of Docker Desktop mean nothing on a host without either.
_IGNORED_MODES = frozenset({"z", "Z", "consistent", "cached", "delegated", "default"})


def bind_mounts(host: Fields) -> tuple[BindMount, ...]:
    """All bind mounts. Errors: InvalidArgument, NotImplemented (volumes)."""
    binds = [_bind(text) for text in host.texts("Binds") or ()]
    binds += (_mount(mount) for mount in host.parts("Mounts") if mount.text("Type") == "bind")
    targets = [
        posixpath.normpath(target) for target in (*(bind.target for bind in binds), *tmpfs_mounts(host))
    ]
    for target in targets:
        if targets.count(target) > 1:
            raise InvalidArgument(f"Duplicate mount point: {target}")
    return tuple(binds)


def _bind(text: str) -> BindMount:
    parts = text.split(":")
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    source, target, modes = parts[0], parts[1], parts[2] if len(parts) == 3 else ""
    if not source.startswith("/"):
        raise NotImplemented(f'HostConfig.Binds "{text}": named volumes are not implemented by barque yet')
    _check_target(target, f"invalid volume specification: '{text}': ")
    read_only, propagation = _modes(modes)
    return BindMount(
        posixpath.normpath(source), posixpath.normpath(target), read_only, propagation, create_source=True
    )


def _check_target(target: str, prefix: str = "") -> None:
    if not target.startswith("/"):
        raise InvalidArgument(
            f"{prefix}invalid mount config for type \"bind\": invalid mount path: '{target}' mount path must be absolute"
        )
    if posixpath.normpath(target).strip("/") == "":
        raise InvalidArgument(f"{prefix}invalid specification: destination can't be '/'")


def _modes(text: str) -> tuple[bool, str]:
    read_only, propagation = False, "rprivate"
    seen: set[str] = set()
    for mode in text.split(",") if text else ():
        kind = "access" if mode in ("ro", "rw") else "propagation" if mode in _PROPAGATION else mode
        if kind in seen or (kind == mode and mode not in _IGNORED_MODES):
            raise InvalidArgument(f"invalid mode: {text}")
        seen.add(kind)
        if kind == "access":
            read_only = mode == "ro"
        elif kind == "propagation":
            propagation = mode
    return read_only, propagation


def _mount(mount: Fields) -> BindMount:
    source, target = mount.text("Source"), mount.text("Target")
    invalid = 'invalid mount config for type "bind": '
    if not source or not target:
        raise InvalidArgument(f"{invalid}field {'Target' if source else 'Source'} must not be empty")
    if not source.startswith("/"):
        raise InvalidArgument(f"{invalid}invalid mount path: '{source}' mount path must be absolute")
    _check_target(target)
    options = mount.part("BindOptions")
    for name in ("ReadOnlyNonRecursive", "ReadOnlyForceRecursive"):
        if options.flag(name):
            raise NotImplemented(f"{options.name_of(name)} is not implemented by barque yet")
    for name in ("VolumeOptions", "TmpfsOptions", "ImageOptions"):
        if mount.mapping(name):
            raise InvalidArgument(f"{invalid}field {name} must not be specified")
    propagation = options.text("Propagation") or "rprivate"
    if propagation not in _PROPAGATION:
        raise InvalidArgument(f"{invalid}invalid propagation mode: {propagation}")
    return BindMount(
        posixpath.normpath(source),
        posixpath.normpath(target),
        read_only=mount.flag("ReadOnly"),
        propagation=propagation,
        recursive=not options.flag("NonRecursive"),
        create_source=options.flag("CreateMountpoint"),
    )


def tmpfs_mounts(host: Fields) -> dict[str, str]:
    """Target to options of every tmpfs. Errors: InvalidArgument, NotImplemented (mounts of other types)."""
    mounts = dict(host.table("Tmpfs"))
    for mount in host.parts("Mounts"):
        kind = mount.text("Type")
        if kind == "tmpfs":
            mounts[mount.text("Target")] = ",".join(_tmpfs_options(mount))
        elif kind in ("volume", "image", "npipe", "cluster", ""):
            raise NotImplemented(f'{mount.name_of("Type")} "{kind}" is not implemented by barque yet')
        elif kind != "bind":
            raise InvalidArgument(f'mount type unknown: "{kind}"')
    for target in mounts:
        if not target.startswith("/") or not posixpath.normpath(target).strip("/"):
            raise InvalidArgument(
                f"invalid mount config for type \"tmpfs\": invalid mount path: '{target}' mount path must be absolute"
            )
    return mounts


def _tmpfs_options(mount: Fields) -> Iterator[str]:
    options = mount.part("TmpfsOptions")
    if mount.text("Source"):
        raise InvalidArgument('invalid mount config for type "tmpfs": field Source must not be specified')
    if options.raw.get("Options"):
        raise NotImplemented(f"{options.name_of('Options')} is not implemented by barque yet")
    if mount.flag("ReadOnly"):
        yield "ro"
    if size := options.number("SizeBytes"):
        yield f"size={size}"
    if mode := options.number("Mode"):
        yield f"mode={mode:o}"


def mount_points(container: Container) -> list[dict[str, Any]]:
    """`Mounts` of inspect and ps. (A `--tmpfs` is not among them, as in Docker.)"""
    return [
        {
            "Type": "bind",
            "Source": bind.source,
            "Destination": bind.target,
            "Mode": "ro" if bind.read_only and bind.create_source else "",
            "RW": not bind.read_only,
            "Propagation": bind.propagation,
        }
        for bind in container.config.binds
    ]
