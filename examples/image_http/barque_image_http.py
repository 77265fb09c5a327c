"""Driver `http` of kind `image`: one layer, a root file system's tarball (plain or gzip) on a web server, pinned by its digest.

`http:https://example.org/rootfs.tar.gz#sha256=…` is fetched when it is resolved: the digest of what is in the gzip, which an image's
config must name, is known no earlier. The tarball stays in the driver's cache, and the engine is given its bytes from there.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.request import urlopen

from barque.spi import Descriptor, Probe, Progress, hookimpl
from barque.spi.errors import InvalidArgument, NotFound, Unavailable
from barque.spi.image import BlobSink, ImageRequest, ResolvedImage

__all__ = ["HttpConfig", "HttpImages"]

_REFERENCE = re.compile(r"(https?://[^\s#]+)#sha256=([0-9a-f]{64})")
_OCI = "application/vnd.oci.image"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class HttpConfig:
    """Settings of the `http` image source.

    architecture: what the tarballs are for; they do not say themselves.
    command: what a container of such an image runs that is told nothing else.
    max_bytes: of one tarball, packed and unpacked, and of all that are kept.
    timeout: seconds without data after which a download has failed.
    """

    architecture: str = "amd64"
    command: tuple[str, ...] = ("/bin/sh",)
    max_bytes: int = 4 << 30
    timeout: float = 30.0


class HttpImages:
    """Image source over tarballs; see the module."""

    Config = HttpConfig
    capabilities: frozenset[str] = frozenset()
    # For `barque plugin verify`, which knows no URL of a file that is missing. The tests of this distribution do.
    conformance_excuses: Mapping[str, str] = {
        "test_missing_image_is_not_found": "the kit's missing image has no URL"
    }

    def __init__(self, name: str, config: HttpConfig, root: str | os.PathLike[str]) -> None:
        self.name, self._config, self._root = name, config, Path(root)

    @hookimpl
    def image_probe(self) -> Probe:
        """It needs nothing of the host."""
        return Probe()

    @hookimpl
    def image_resolve(self, request: ImageRequest) -> ResolvedImage:
        """Fetch the tarball unless it is in the cache, and describe it as an image."""
        # With the source named `http`, `http://host/…` arrives without its beginning.
        match = _REFERENCE.fullmatch(
            f"http:{request.reference}" if request.reference[:2] == "//" else request.reference
        )
        if match is None:
            raise InvalidArgument("invalid reference format", hint=f"write {self.name}:URL#sha256=DIGEST")
        if (request.platform.os, request.platform.architecture) != ("linux", self._config.architecture):
            raise NotFound(
                f"no matching manifest for {request.platform}", hint="set `architecture` in the profile"
            )
        url, digest = match.groups()
        tarball = self._root / digest
        check = _checker(request.cancelled)
        check()
        if not tarball.exists():
            request.progress(Progress("", f"Downloading {url}"))
            self._download(url, digest, tarball, check)
        packed, diff_id = self._diff_id(tarball, check)
        layer = Descriptor(f"{_OCI}.layer.v1.tar{packed}", f"sha256:{digest}", tarball.stat().st_size)
        config = _json(
            architecture=self._config.architecture,
            os="linux",
            config={"Cmd": self._config.command},
            rootfs={"type": "layers", "diff_ids": [diff_id]},
        )
        manifest = _json(
            schemaVersion=2,
            mediaType=f"{_OCI}.manifest.v1+json",
            config=_described(
                f"{_OCI}.config.v1+json", f"sha256:{hashlib.sha256(config).hexdigest()}", len(config)
            ),
            layers=[_described(layer.media_type, layer.digest, layer.size)],
        )
        name = f"{self.name}:{url}#sha256={digest}"
        return ResolvedImage(name, "", manifest, f"{_OCI}.manifest.v1+json", config, (layer,), tarball)

    @hookimpl
    def image_fetch(self, image: ResolvedImage, layer: Descriptor, sink: BlobSink) -> None:
        """Copy the tarball from the cache."""
        if not isinstance(image.source, Path) or layer not in image.layers:
            raise NotFound(f"{image.name} has no layer {layer.digest}")
        try:
            with image.source.open("rb") as file:
                file.seek(sink.offset)
                while data := file.read(_CHUNK):
                    sink.write(data)
        except FileNotFoundError:
            raise Unavailable(f"{image.name} has left the cache", hint="pull again") from None

    def _download(self, url: str, digest: str, tarball: Path, check: Callable[[], None]) -> None:
        partial = tarball.with_name(f".{digest}.{secrets.token_hex(4)}")
        try:
            with urlopen(url, timeout=self._config.timeout) as reply, partial.open("xb") as file:
                found = self._copy(reply, file.write, check)
            if found != f"sha256:{digest}":
                raise InvalidArgument(
                    f"{url} is {found}, not sha256:{digest}", hint="somebody changed the file"
                )
            partial.replace(tarball)
        except HTTPError as error:
            error.close()
            raise (NotFound if error.code in (404, 410) else Unavailable)(
                f"{url}: {error.code} {error.reason}"
            ) from error
        except (OSError, HTTPException) as error:
            raise Unavailable(f"{url}: {error}") from error
        finally:
            partial.unlink(missing_ok=True)
        self._shrink(tarball)

    def _diff_id(self, tarball: Path, check: Callable[[], None]) -> tuple[str, str]:
        """The compression as a media type ends, and the digest of the tar itself."""
        with tarball.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                return "", f"sha256:{tarball.name}"
            try:
                return "+gzip", self._copy(gzip.GzipFile(fileobj=file), len, check)
            except (OSError, EOFError) as error:
                raise InvalidArgument(f"sha256:{tarball.name} is no gzip: {error}") from error

    def _copy(
        self, source: BinaryIO | gzip.GzipFile, write: Callable[[bytes], object], check: Callable[[], None]
    ) -> str:
        """All of `source` to `write`, in bounded memory: its digest."""
        sha256, total = hashlib.sha256(), 0
        while data := source.read(_CHUNK):
            check()
            total += len(data)
            if total > self._config.max_bytes:
                raise InvalidArgument(f"the tarball has more than {self._config.max_bytes} bytes")
            sha256.update(data)
            write(data)
        return f"sha256:{sha256.hexdigest()}"

    def _shrink(self, latest: Path) -> None:
        """Oldest first, tarballs go until the rest is small enough."""
        kept = sorted(
            (path for path in self._root.glob("[0-9a-f]*") if path != latest),
            key=lambda path: path.stat().st_mtime,
        )
        total = sum(path.stat().st_size for path in (*kept, latest))
        for path in kept:
            if total > self._config.max_bytes:
                total -= path.stat().st_size
                path.unlink(missing_ok=True)


def _checker(cancelled: Callable[[], bool]) -> Callable[[], None]:
    def check() -> None:
        if cancelled():
            raise Unavailable("the pull was cancelled")

    return check


def _described(media_type: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _json(**document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
