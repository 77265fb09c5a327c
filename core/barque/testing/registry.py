"""An in-process registry that can be made to fail: what a test of pulls and pushes talks to.

    with FaultyRegistry() as registry:
        image = registry.add_image("team/app", "1", [layer])
        registry.inject(Fault("truncate", path="/blobs/", after=1000, times=2))
        ...pull f"{registry.address}/team/app:1"...
        assert len(registry.asked("/blobs/" + image.layers[0])) == 3

It serves the OCI distribution spec but for deletion on 127.0.0.1, over TLS when given a certificate (and asks for one of the authority in
`clients`), behind tokens when `tokens` is set, and remembers every request with its headers, so that leaked credentials can be found.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from barque.testing.registry_contents import Contents, PushRules
from barque.testing.registry_server import Fault, RegistryServer, Seen, Tokens

__all__ = ["AddedImage", "Contents", "Fault", "FaultyRegistry", "PushRules", "Seen", "Tokens"]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class AddedImage:
    """Digests of an image in the registry."""

    manifest: str
    config: str
    layers: tuple[str, ...]


class FaultyRegistry:
    """The registry. A context manager; `close` ends its threads and connections."""

    def __init__(
        self,
        *,
        certificate: str = "",
        key: str = "",
        clients: str = "",
        tokens: Tokens | None = None,
        contents: Contents | None = None,
    ) -> None:
        self.tokens = tokens
        self.seen: list[Seen] = []
        self.contents = contents or Contents()
        self.blobs, self.manifests = self.contents.blobs, self.contents.manifests
        self.connections = 0
        self.released = threading.Event()
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._server = RegistryServer(self)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            if clients:
                context.load_verify_locations(clients)
                context.verify_mode = ssl.CERT_REQUIRED
            self._server.tls = context
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="test-registry", daemon=True
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`, as a reference begins."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self._server.tls else 'http'}://{self.address}"

    def __enter__(self) -> FaultyRegistry:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End serving. Idempotent."""
        self.released.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.hang_up()
        self._server.server_close()

    def inject(self, fault: Fault) -> None:
        """The first injected fault that matches a request applies to it."""
        with self._lock:
            self._faults.append(fault)

    def heal(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def asked(self, part: str, method: str = "") -> list[Seen]:
        """The requests whose path contains `part`, of this method or any."""
        return [seen for seen in self.seen if part in seen.path and method in ("", seen.method)]

    def add_blob(self, data: bytes) -> str:
        """Store a blob; its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return digest

    def add_manifest(
        self, repository: str, tag: str, document: Mapping[str, Any] | bytes, media_type: str = MANIFEST
    ) -> str:
        """Store a manifest or index under its tag ("" for none) and its digest, which is returned."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        for pointer in (tag, digest):
            self.manifests[repository, pointer] = data, media_type
        return digest

    def add_image(
        self, repository: str, tag: str, layers: Sequence[bytes], architecture: str = "amd64", **changes: Any
    ) -> AddedImage:
        """Store an image of uncompressed layers. `changes` replace fields of its manifest."""
        digests = tuple(self.add_blob(layer) for layer in layers)
        self.contents.held.update((repository, digest) for digest in digests)
        rootfs = {"type": "layers", "diff_ids": list(digests)}
        config = json.dumps(
            {"architecture": architecture, "os": "linux", "config": {"Cmd": ["sh"]}, "rootfs": rootfs}
        ).encode()
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": self.add_blob(config), "size": len(config)},
            "layers": [
                {"mediaType": LAYER, "digest": digest, "size": len(layer)}
                for digest, layer in zip(digests, layers, strict=True)
            ],
            **changes,
        }
        self.contents.held.add((repository, self.add_blob(config)))
        return AddedImage(self.add_manifest(repository, tag, document), self.add_blob(config), digests)

    def expire_tokens(self) -> None:
        """No token given out so far is good any more."""
        if self.tokens:
            self.tokens.valid.clear()

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The fault for a request, counted down."""
        with self._lock:
            for fault in self._faults:
                if fault.matches(method, path):
                    fault.times -= 1
                    return fault
        return None
