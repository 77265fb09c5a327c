"""Reading a docker-archive: a tar with manifest.json, a config and layer tars (moby, image/spec v1.2).

The file is an attacker's: only regular members named by manifest.json are read, small documents bounded in size,
and nothing is written anywhere but into the sink, which verifies.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from barque.spi import Descriptor
from barque.spi.errors import InvalidArgument, NotFound, NotImplemented
from barque.spi.image import BlobSink

__all__ = ["Archive", "Layer", "copy_layer", "open_archive"]

_DOCUMENT_LIMIT = 8 << 20
_MEMBERS = 100_000
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_TAR = "application/vnd.docker.image.rootfs.diff.tar"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's descriptor and where its bytes lie in the file."""

    descriptor: Descriptor
    offset: int


@dataclass(frozen=True, slots=True)
class Archive:
    """One image of an archive, whose bytes `file` gives; `name` is its first tag, or empty."""

    file: IO[bytes]
    name: str
    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]


def open_archive(reference: str, scratch: str) -> Archive:
    """Errors: NotFound (no such file), InvalidArgument (no docker-archive), NotImplemented (several images).

    A gzip archive is unpacked to an unnamed file in the directory `scratch` first: layers are read by offset.
    """
    try:
        file = _plain(Path(reference), scratch)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            return _read(file, tar)
    except FileNotFoundError:
        raise NotFound(f"no such file: {reference}") from None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InvalidArgument(
            f"{reference} is no docker-archive: {error}", hint="`docker save` writes one"
        ) from error


def _plain(path: Path, scratch: str) -> IO[bytes]:
    file = path.open("rb")
    magic = file.read(2)
    file.seek(0)
    if magic != _GZIP:
        return file
    with file, gzip.GzipFile(fileobj=file) as packed:
        plain = tempfile.TemporaryFile(dir=scratch)
        shutil.copyfileobj(packed, plain, _CHUNK)
    plain.seek(0)
    return plain


def _read(file: IO[bytes], tar: tarfile.TarFile) -> Archive:
    members = _members(tar)
    entries = _json(_document(tar, members, "manifest.json"), "manifest.json")
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise InvalidArgument("manifest.json of the archive is not a list of images")
    if len(entries) > 1:
        raise NotImplemented(f"the archive has {len(entries)} images", hint="save one image a file")
    entry: dict[str, Any] = entries[0]
    config = _document(tar, members, str(entry.get("Config")))
    layers = tuple(_layer(file, members, str(name)) for name in entry.get("Layers") or ())
    config_digest = _digest(config)
    tags = entry.get("RepoTags") or []
    return Archive(
        file, str(tags[0]) if tags else "", _manifest(config_digest, config, layers), config, layers
    )


def _members(tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    for count, member in enumerate(tar):
        if count > _MEMBERS:
            raise InvalidArgument(f"the archive has more than {_MEMBERS} members")
        members[member.name.removeprefix("./")] = member
    return members


def _regular(members: dict[str, tarfile.TarInfo], name: str) -> tarfile.TarInfo:
    """The member, following `docker save`'s links of one layer to another, a few steps at most."""
    for _ in range(4):
        member = members.get(name)
        if member is None:
            raise InvalidArgument(f"the archive has no {name[:200]!r}")
        if member.isreg():
            return member
        if not (member.issym() or member.islnk()):
            break
        base = name.rpartition("/")[0] if member.issym() else ""
        name = _join(base, member.linkname)
    raise InvalidArgument(f"{name[:200]!r} of the archive is not a regular file")


def _join(base: str, link: str) -> str:
    parts: list[str] = base.split("/") if base else []
    for part in link.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _document(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> bytes:
    member = _regular(members, name)
    if member.size > _DOCUMENT_LIMIT:
        raise InvalidArgument(f"{name} of the archive is larger than {_DOCUMENT_LIMIT} bytes")
    file = tar.extractfile(member)
    return file.read() if file else b""


def _json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{name} of the archive is no JSON") from error


def _layer(file: IO[bytes], members: dict[str, tarfile.TarInfo], name: str) -> Layer:
    member = _regular(members, name)
    digest, left, head = hashlib.sha256(), member.size, b""
    file.seek(member.offset_data)
    while left > 0:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            raise InvalidArgument(f"the archive ends inside {name}")
        head = head or chunk[:2]
        digest.update(chunk)
        left -= len(chunk)
    media_type = f"{_TAR}.gzip" if head == _GZIP else _TAR
    return Layer(Descriptor(media_type, f"sha256:{digest.hexdigest()}", member.size), member.offset_data)


def _manifest(config_digest: str, config: bytes, layers: tuple[Layer, ...]) -> bytes:
    """The manifest a registry would have for it."""
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": _CONFIG_TYPE, "size": len(config), "digest": config_digest},
        "layers": [
            {"mediaType": d.media_type, "size": d.size, "digest": d.digest}
            for d in (layer.descriptor for layer in layers)
        ],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def copy_layer(archive: Archive, wanted: Descriptor, sink: BlobSink) -> None:
    """Write the layer's bytes from the sink's offset on. Errors: NotFound."""
    for layer in archive.layers:
        if layer.descriptor.digest == wanted.digest:
            break
    else:
        raise NotFound(f"{wanted.digest} is not in the archive")
    fd = archive.file.fileno()
    while left := wanted.size - sink.offset:
        chunk = os.pread(fd, min(left, _CHUNK), layer.offset + sink.offset)
        if not chunk:
            raise InvalidArgument("the archive was cut while it was read")
        sink.write(chunk)
