"""The OCI manifest and config of an image with one layer (OCI image-spec: manifest, config)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from barque.spi import Descriptor, Platform

__all__ = ["LAYER_TYPE", "MANIFEST_TYPE", "ImageFacts", "config_document", "manifest_document"]

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the documents depend on, and nothing else: no clock, no host, no mirror. `created` in seconds since the epoch.
    `archives`: file name and SHA-256 of every package, sorted."""

    platform: Platform
    suite: str
    requested: tuple[tuple[str, str], ...]
    archives: tuple[tuple[str, str], ...]
    created: int
    shell: str
    layer: Descriptor


def config_document(facts: ImageFacts) -> bytes:
    """The image config: exact bytes, keys in order, no white space. Its history names every package, the layer's entry comes last."""
    created = datetime.fromtimestamp(facts.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    packages = ",".join(f"{name}={version}" for name, version in facts.requested)
    names = ",".join(name for name, _ in facts.requested)
    document: dict[str, object] = {
        "architecture": facts.platform.architecture,
        "os": facts.platform.os,
        "created": created,
        "config": {
            "Env": [_PATH],
            "Labels": {"org.barque.deb.packages": packages, "org.barque.deb.suite": facts.suite},
            "WorkingDir": "/",
            **({"Cmd": [facts.shell]} if facts.shell else {}),
        },
        "rootfs": {"type": "layers", "diff_ids": [facts.layer.digest]},
        "history": [
            *(
                {"created": created, "created_by": file, "comment": f"sha256:{sha256}", "empty_layer": True}
                for file, sha256 in facts.archives
            ),
            {"created": created, "created_by": f"deb:{names}@{facts.suite}"},
        ],
    }
    if facts.platform.variant:
        document["variant"] = facts.platform.variant
    return _encode(document)


def manifest_document(config: bytes, layer: Descriptor) -> bytes:
    """The manifest that names `config` and `layer`."""
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    return _encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": _CONFIG_TYPE, "digest": digest, "size": len(config)},
            "layers": [{"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}],
        }
    )


def _encode(document: dict[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
