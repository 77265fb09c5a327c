"""Mounts: `HostConfig.Binds`, `.Mounts`, `.Tmpfs` and `Config.Volumes` to the engine's. Error texts are Docker's: clients compare them."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from barque.spi.errors import InvalidArgument
from barque.spi.frontend import BindMount, ImageMount, VolumeMount
from barque_api_docker.fields import Fields
from barque_api_docker.translate.tmpfs import tmpfs_options

__all__ = ["Mounts", "bind_parts", "clean_path", "read_mounts"]

_PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_ACCESS = frozenset({"ro", "rw"})
_LABELS = frozenset({"z", "Z"})  # of SELinux: accepted, and without effect on a host that has none
_COPY = frozenset({"nocopy"})
_CONSISTENCY = frozenset({"consistent", "cached", "delegated", "default"})  # of Docker Desktop
_MODES = (_ACCESS, _PROPAGATION, _LABELS, _COPY, _CONSISTENCY)


@dataclass(frozen=True, slots=True)
class Mounts:
    """What a create request wants mounted. `tmpfs`: options by target."""

    binds: tuple[BindMount, ...]
    volumes: tuple[VolumeMount, ...]
    images: tuple[ImageMount, ...]
    tmpfs: dict[str, str]


def read_mounts(body: Fields, host: Fields) -> Mounts:
    """All of them. Errors: InvalidArgument."""
    driver = host.text("VolumeDriver")
    found: list[BindMount | VolumeMount | ImageMount] = [
        _bind(text, driver) for text in host.texts("Binds") or ()
    ]
    tmpfs = dict(host.table("Tmpfs"))
    for target in tmpfs:
        _check_target("tmpfs", target)
    for mount in host.parts("Mounts"):
        _read(mount, found, tmpfs)
    _check_duplicates([*(mount.target for mount in found), *tmpfs])
    taken = {mount.target for mount in found} | {clean_path(target) for target in tmpfs}
    # docker-py names the targets of all its binds here, too
    anonymous = dict.fromkeys(clean_path(target) for target in body.mapping("Volumes"))
    volumes = [VolumeMount(target, driver=driver) for target in anonymous if target not in taken]
    for volume in volumes:
        _check_target("volume", volume.target)
    return Mounts(
        tuple(mount for mount in found if isinstance(mount, BindMount)),
        (*(mount for mount in found if isinstance(mount, VolumeMount)), *volumes),
        tuple(mount for mount in found if isinstance(mount, ImageMount)),
        tmpfs,
    )


def clean_path(path: str) -> str:
    """Absolute, without `.`, `..` and doubled slashes."""
    return "/" + posixpath.normpath(f"/{path}").lstrip("/")


def _check_duplicates(targets: list[str]) -> None:
    seen: set[str] = set()
    for target in map(clean_path, targets):
        if target in seen:
            raise InvalidArgument(f"Duplicate mount point: {target}")
        seen.add(target)


# -- HostConfig.Binds: SOURCE:TARGET[:MODE,…], NAME:TARGET[:MODE,…], TARGET


def bind_parts(text: str) -> tuple[str, str, str]:
    """Source, target and mode. Errors: InvalidArgument."""
    parts = text.split(":")
    if len(parts) > 3 or not parts[0] or (len(parts) == 2 and _valid(parts[1])):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        return "", parts[0], ""
    mode = parts[2] if len(parts) == 3 else ""
    if not _valid(mode):
        raise InvalidArgument(f"invalid mode: {mode}")
    return parts[0], parts[1], mode


def _valid(mode: str) -> bool:
    """Whether it is a list of modes, at most one of each kind."""
    words = mode.split(",") if mode else []
    kinds = [next((kind for kind in _MODES if word in kind), None) for word in words]
    return None not in kinds and len(set(kinds)) == len(kinds)


def _bind(text: str, driver: str) -> BindMount | VolumeMount:
    source, target, mode = bind_parts(text)
    words = set(mode.split(","))
    kind = "bind" if source.startswith("/") else "volume"
    prefix = f"invalid volume specification: '{text}': "
    _check_target(kind, target, prefix)
    propagation = "".join(words & _PROPAGATION)
    if kind == "volume":
        if propagation:
            raise _extra(kind, "BindOptions", prefix)
        return VolumeMount(
            clean_path(target), source, read_only="ro" in words, copy=not words & _COPY, driver=driver
        )
    if words & _COPY:
        raise _extra(kind, "VolumeOptions", prefix)
    return BindMount(
        clean_path(source),
        clean_path(target),
        read_only="ro" in words,
        propagation=propagation or "rprivate",
        create_source=True,
    )


# -- HostConfig.Mounts


def _read(mount: Fields, found: list[BindMount | VolumeMount | ImageMount], tmpfs: dict[str, str]) -> None:
    kind = mount.text("Type")
    if kind not in ("bind", "volume", "tmpfs", "image"):
        raise _invalid(kind, "mount type unknown")
    _check_target(kind, mount.text("Target"))
    for other in ("bind", "volume", "tmpfs", "image"):
        name = f"{other.capitalize()}Options"
        if other != kind and mount.raw.get(name) is not None:
            raise _extra(kind, name)
    if kind == "bind":
        found.append(_bind_mount(mount))
    elif kind == "volume":
        found.append(_volume_mount(mount))
    elif kind == "image":
        found.append(_image_mount(mount))
    else:
        if mount.text("Source"):
            raise _extra(kind, "Source")
        tmpfs[mount.text("Target")] = tmpfs_options(mount)


def _bind_mount(mount: Fields) -> BindMount:
    source, options = mount.text("Source"), mount.part("BindOptions")
    if not source:
        raise _invalid("bind", "field Source must not be empty")
    propagation = options.text("Propagation") or "rprivate"
    if propagation not in _PROPAGATION:
        raise _invalid("bind", f"invalid propagation mode: {propagation}")
    if not source.startswith("/"):
        raise _invalid("bind", f"invalid mount path: '{source}' mount path must be absolute")
    return BindMount(
        clean_path(source),
        clean_path(mount.text("Target")),
        read_only=mount.flag("ReadOnly"),
        propagation=propagation,
        recursive=not options.flag("NonRecursive"),
        create_source=options.flag("CreateMountpoint"),
        read_only_below=_below(mount, options, propagation),
    )


def _below(mount: Fields, options: Fields, propagation: str) -> str:
    plain, forced = options.flag("ReadOnlyNonRecursive"), options.flag("ReadOnlyForceRecursive")
    if plain and forced:
        raise _invalid("bind", "ReadOnlyNonRecursive conflicts with ReadOnlyForceRecursive")
    for name, wanted in (("ReadOnlyNonRecursive", plain), ("ReadOnlyForceRecursive", forced)):
        if wanted and not mount.flag("ReadOnly"):
            raise _invalid("bind", f"{name} requires ReadOnly")
    if forced and propagation != "rprivate":
        raise _invalid("bind", "ReadOnlyForceRecursive requires Propagation rprivate")
    return "no" if plain else "force" if forced else "try"


def _volume_mount(mount: Fields) -> VolumeMount:
    source, options = mount.text("Source"), mount.part("VolumeOptions")
    subpath, driver = options.text("Subpath"), options.part("DriverConfig")
    if subpath and not source:
        raise _invalid("volume", "must not set Subpath when using anonymous volumes")
    if subpath and not _is_local(subpath):
        raise _invalid("volume", "subpath must be a relative path within the volume")
    if not source and mount.flag("ReadOnly"):
        raise _invalid("volume", "must not set ReadOnly mode when using anonymous volumes")
    return VolumeMount(
        clean_path(mount.text("Target")),
        source,
        read_only=mount.flag("ReadOnly"),
        copy=not options.flag("NoCopy"),
        subpath=subpath,
        driver=driver.text("Name"),
        options=driver.table("Options"),
        labels=options.table("Labels"),
    )


def _image_mount(mount: Fields) -> ImageMount:
    source, subpath = mount.text("Source"), mount.part("ImageOptions").text("Subpath")
    if not source:
        raise _invalid("image", "field Source must not be empty")
    if subpath and not _is_local(subpath):
        raise _invalid("image", "subpath must be a relative path within the image")
    return ImageMount(source, clean_path(mount.text("Target")), subpath)


def _is_local(path: str) -> bool:
    clean = posixpath.normpath(path)
    return not clean.startswith("/") and clean != ".." and not clean.startswith("../")


def _check_target(kind: str, target: str, prefix: str = "") -> None:
    if not target:
        raise _invalid(kind, "field Target must not be empty", prefix)
    if target.startswith("/") and clean_path(target) == "/":
        raise _invalid(kind, "invalid specification: destination can't be '/'", prefix)
    if not target.startswith("/"):
        raise _invalid(kind, f"invalid mount path: '{target}' mount path must be absolute", prefix)


def _extra(kind: str, name: str, prefix: str = "") -> InvalidArgument:
    return _invalid(kind, f"field {name} must not be specified", prefix)


def _invalid(kind: str, reason: str, prefix: str = "") -> InvalidArgument:
    return InvalidArgument(f'{prefix}invalid mount config for type "{kind}": {reason}')
