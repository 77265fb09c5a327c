"""Images as `docker save` lists them in manifest.json (moby, image/spec v1.2), with layers as files of any name."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from barque.spi import Descriptor, Platform
from barque.spi.errors import InvalidArgument
from barque_image_archive.documents import config_platform, diff_ids, read_array, read_object, sha256
from barque_image_archive.files import Extent, Files, read_document
from barque_image_archive.names import canonical
from barque_image_archive.ociformat import Found

__all__ = ["Entry", "manifest_entries"]

_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_TAR = "application/vnd.docker.image.rootfs.diff.tar"
_COMPRESSED = ((b"\x1f\x8b", f"{_TAR}.gzip"), (b"\x28\xb5\x2f\xfd", f"{_TAR}.zstd"))
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_MOST_ENTRIES = 1024
_MOST_LAYERS = 512
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of manifest.json: the files of its config and layers, and its canonical names."""

    config: str
    layers: tuple[str, ...]
    names: tuple[str, ...]

    def platform(self, files: Files) -> Platform:
        """What the config says. Errors: NotFound, InvalidArgument."""
        return config_platform(read_object(read_document(files, self.config), "image config"))

    def config_digest(self, files: Files) -> str:
        """The image's id. Errors: NotFound, InvalidArgument."""
        return sha256(read_document(files, self.config))

    def read(self, files: Files) -> Found:
        """The config, and the manifest that a registry would have for it. Errors: NotFound, InvalidArgument."""
        config = read_document(files, self.config)
        claimed = diff_ids(read_object(config, "image config"))
        if len(claimed) != len(self.layers):
            raise InvalidArgument(
                f"the archive has {len(self.layers)} layers of an image with {len(claimed)} diff ids"
            )
        pairs = zip(self.layers, claimed, strict=True)
        layers = tuple(_layer(files, name, diff_id) for name, diff_id in pairs)
        blobs = {layer.digest: name for layer, name in zip(layers, self.layers, strict=True)}
        return Found(_manifest(config, layers), _MANIFEST_TYPE, config, layers, blobs)


def manifest_entries(files: Files) -> list[Entry]:
    """The images of manifest.json. Errors: NotFound, InvalidArgument (also: a RepoTag that is no reference)."""
    documents = read_array(read_document(files, "manifest.json"), "manifest.json")
    if len(documents) > _MOST_ENTRIES:
        raise InvalidArgument(f"manifest.json lists more than {_MOST_ENTRIES} images")
    entries = []
    for document in documents:
        config, layers = document.get("Config"), document.get("Layers") or []
        tags = document.get("RepoTags") or []
        if not (isinstance(config, str) and _strings(layers) and _strings(tags)):
            raise InvalidArgument(
                "manifest.json has an image with a Config, Layers or RepoTags of a wrong type"
            )
        if len(layers) > _MOST_LAYERS:
            raise InvalidArgument(f"manifest.json has an image of more than {_MOST_LAYERS} layers")
        names = tuple(dict.fromkeys(map(canonical, tags)))
        entries.append(Entry(config, tuple(layers), names))
    return entries


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _layer(files: Files, name: str, diff_id: str) -> Descriptor:
    """The digest of a plain tar is its diff id, and a file named as a blob says its own: both are verified by who stores
    them. Only a compressed layer under another name has to be read for its digest."""
    with files.open(name) as extent:
        head = next(extent.pieces(0, 4), b"")
        media_type = next((kind for magic, kind in _COMPRESSED if head.startswith(magic)), _TAR)
        blob = _BLOB.fullmatch(name)
        if media_type == _TAR:
            digest = diff_id
        elif blob:
            digest = f"sha256:{blob[1]}"
        else:
            digest = _digest(extent)
        return Descriptor(media_type, digest, extent.size)


def _digest(extent: Extent) -> str:
    found = hashlib.sha256()
    for piece in extent.pieces(0, _CHUNK):
        found.update(piece)
    return f"sha256:{found.hexdigest()}"


def _manifest(config: bytes, layers: tuple[Descriptor, ...]) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": {"mediaType": _CONFIG_TYPE, "size": len(config), "digest": sha256(config)},
        "layers": [{"mediaType": d.media_type, "size": d.size, "digest": d.digest} for d in layers],
    }
    return json.dumps(document, separators=(",", ":")).encode()
