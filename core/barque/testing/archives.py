"""Makes image archives for tests: docker-archives as they were written until Docker 24, and OCI layouts.

image = ArchivedImage([LayerTar().file("a", b"1").content()])
path.write_bytes(tar_of(docker_archive({"app:1": image})))
write_directory(oci_layout([image.entry("1")], [image]), path)
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from barque.spi.common import Platform
from barque.testing.layers import compress

__all__ = ["ArchivedImage", "docker_archive", "index", "oci_layout", "tar_of", "write_directory"]

_OCI = "application/vnd.oci.image"
_LAYER_TYPES = {"plain": "tar", "gzip": "tar+gzip", "zstd": "tar+zstd"}


class ArchivedImage:
    """An OCI image of the uncompressed `layers`: `blobs` by digest, `manifest` and `config` as bytes."""

    def __init__(
        self,
        layers: Sequence[bytes],
        compression: str = "gzip",
        platform: Platform | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.platform = platform or Platform()
        self.layers = list(layers)
        packed = [compress(layer, compression) for layer in layers]
        config: dict[str, Any] = {
            "architecture": self.platform.architecture,
            "os": self.platform.os,
            "config": {"Cmd": ["sh"], "Labels": dict(labels or {})},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
        }
        if self.platform.variant:
            config["variant"] = self.platform.variant
        self.config = json.dumps(config).encode()
        layer_type = f"{_OCI}.layer.v1.{_LAYER_TYPES[compression]}"
        document = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _descriptor(f"{_OCI}.config.v1+json", self.config),
            "layers": [_descriptor(layer_type, blob) for blob in packed],
        }
        self.manifest = json.dumps(document).encode()
        self.blobs = {_digest(blob): blob for blob in (self.manifest, self.config, *packed)}

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return _digest(self.manifest)

    def entry(self, label: str = "", name: str = "", platform: Platform | None = None) -> dict[str, Any]:
        """Its descriptor for an index; `label` is OCI's ref.name, `name` containerd's."""
        entry = _descriptor(f"{_OCI}.manifest.v1+json", self.manifest)
        names = {"org.opencontainers.image.ref.name": label, "io.containerd.image.name": name}
        annotations = {key: value for key, value in names.items() if value}
        if annotations:
            entry["annotations"] = annotations
        if platform:
            entry["platform"] = {"os": platform.os, "architecture": platform.architecture}
        return entry


def index(entries: Sequence[Mapping[str, Any]]) -> bytes:
    """An image index."""
    document = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.index.v1+json",
        "manifests": list(entries),
    }
    return json.dumps(document).encode()


def oci_layout(
    entries: Sequence[Mapping[str, Any]], images: Iterable[ArchivedImage], *more: bytes
) -> dict[str, bytes]:
    """The files of a layout: index.json with `entries`, the blobs of `images`, and `more` blobs (further indexes)."""
    blobs = {digest: blob for image in images for digest, blob in image.blobs.items()}
    blobs.update({_digest(blob): blob for blob in more})
    return {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": index(entries),
        **{f"blobs/sha256/{digest[7:]}": blob for digest, blob in blobs.items()},
    }


def docker_archive(images: Mapping[str, ArchivedImage]) -> dict[str, bytes]:
    """The files of an old docker-archive: uncompressed layers `<hex>/layer.tar`, manifest.json. A name may be empty, and
    names with commas are several."""
    files: dict[str, bytes] = {}
    entries = []
    for name, image in images.items():
        config = f"{_digest(image.config)[7:]}.json"
        layers = [f"{_digest(layer)[7:]}/layer.tar" for layer in image.layers]
        files[config] = image.config
        files.update(dict(zip(layers, image.layers, strict=True)))
        entries.append({"Config": config, "RepoTags": name.split(",") if name else None, "Layers": layers})
    files["manifest.json"] = json.dumps(entries).encode()
    return files


def tar_of(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """The files as a tar, and symbolic links."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return out.getvalue()


def write_directory(files: Mapping[str, bytes], path: Path) -> Path:
    """The files below the directory `path`."""
    for name, data in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return path


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
