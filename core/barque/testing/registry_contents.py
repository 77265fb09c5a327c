"""What `barque.testing.registry` holds, and its answers by method and URL (distribution spec: pull, push, content discovery)."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["Answer", "Contents", "PushRules"]

_MANIFEST = re.compile(r"/v2/(.+)/manifests/([^/]+)")
_BLOB = re.compile(r"/v2/(.+)/blobs/(sha256:[^/]+)")
_UPLOADS = re.compile(r"/v2/(.+)/blobs/uploads/")
_SESSION = re.compile(r"/v2/(.+)/blobs/uploads/([^/]+)")
_TAGS = re.compile(r"/v2/(.+)/tags/list")


@dataclass
class PushRules:
    """How the registry takes pushes. `mounts`: across repositories. `relative`: Locations without a host. `whole`: a blob in one PUT; else
    405. `appends`: PATCH; else 405. `largest_body`: a body with more bytes is 413; 0: no limit. `least_chunk`: announced as
    OCI-Chunk-Min-Length."""

    mounts: bool = True
    relative: bool = True
    whole: bool = True
    appends: bool = True
    largest_body: int = 0
    least_chunk: int = 0


@dataclass(frozen=True)
class Answer:
    """An answer before anything is done to it."""

    status: int
    data: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Contents:
    """Blobs (of all repositories together; with `separate`, each only where it was put), manifests by (repository, tag or digest), uploads
    under way. `page`: most names in one answer. `found`: results of `/v1/search`; None: there is no such thing."""

    separate: bool = False
    rules: PushRules = field(default_factory=PushRules)
    page: int = 1000
    found: list[dict[str, Any]] | None = None
    catalog: bool = True
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)
    held: set[tuple[str, str]] = field(default_factory=set)
    sessions: dict[str, bytearray] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes, host: str) -> Answer:
        """The right answer. `host` begins absolute Locations."""
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if method in ("GET", "HEAD"):
            return self._read(url.path, query, headers)
        if match := _UPLOADS.fullmatch(url.path):
            return self._begin(match[1], query, host) if method == "POST" else error(405, "UNSUPPORTED")
        if match := _SESSION.fullmatch(url.path):
            return self._upload(method, match[1], match[2], query, headers, body, host)
        if (match := _MANIFEST.fullmatch(url.path)) and method == "PUT":
            return self._store(match[1], match[2], headers.get("content-type", ""), body)
        return error(405, "UNSUPPORTED")

    def append(self, session: str, data: bytes) -> None:
        """Part of a body whose request broke: a registry keeps what it has."""
        with self.lock:
            if session in self.sessions:
                self.sessions[session] += data

    # -- reading ------------------------------------------------------------------------------

    def _read(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        if path == "/v2/":
            return Answer(200, b"{}")
        if match := _MANIFEST.fullmatch(path):
            data, media_type = self.manifests.get((match[1], match[2]), (None, ""))
            return _content(data, media_type, "MANIFEST_UNKNOWN", {})
        if match := _BLOB.fullmatch(path):
            here = not self.separate or (match[1], match[2]) in self.held
            data = self.blobs.get(match[2]) if here else None
            return _content(data, "application/octet-stream", "BLOB_UNKNOWN", headers)
        if match := _SESSION.fullmatch(path):
            return self._status(match[2], path)
        if match := _TAGS.fullmatch(path):
            tags = sorted(tag for name, tag in self.manifests if name == match[1] and tag and ":" not in tag)
            return (
                self._list(path, {"name": match[1]}, "tags", tags, query)
                if tags
                else error(404, "NAME_UNKNOWN")
            )
        if path == "/v2/_catalog" and self.catalog:
            return self._list(path, {}, "repositories", sorted({name for name, _ in self.manifests}), query)
        if path == "/v1/search" and self.found is not None:
            return Answer(200, json.dumps({"results": self.found}).encode())
        return Answer(404, b"{}")

    def _list(
        self, path: str, document: dict[str, Any], field: str, names: list[str], query: Mapping[str, str]
    ) -> Answer:
        count = min(int(query.get("n", "1000")), self.page)
        rest = [name for name in names if name > query.get("last", "")]
        shown = rest[:count]
        link = f'<{path}?last={shown[-1]}&n={count}>; rel="next"' if len(rest) > count else ""
        return Answer(200, json.dumps({**document, field: shown}).encode(), {"Link": link} if link else {})

    def _status(self, session: str, path: str) -> Answer:
        if session not in self.sessions:
            return error(404, "BLOB_UPLOAD_UNKNOWN")
        last = max(0, len(self.sessions[session]) - 1)
        return Answer(204, b"", {"Location": path, "Range": f"0-{last}", "Docker-Upload-UUID": session})

    # -- writing ------------------------------------------------------------------------------

    def _begin(self, repository: str, query: Mapping[str, str], host: str) -> Answer:
        digest, other = query.get("mount", ""), query.get("from", "")
        if self.rules.mounts and digest in self.blobs and (other, digest) in self.held:
            self.held.add((repository, digest))
            return Answer(
                201, b"", {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest}
            )
        session = secrets.token_hex(8)
        self.sessions[session] = bytearray()
        return self._accepted(repository, session, host)

    def _accepted(self, repository: str, session: str, host: str) -> Answer:
        location = f"/v2/{repository}/blobs/uploads/{session}?state={secrets.token_hex(4)}"
        headers = {
            "Location": location if self.rules.relative else host + location,
            "Range": f"0-{max(0, len(self.sessions[session]) - 1)}",
        }
        if self.rules.least_chunk:
            headers["OCI-Chunk-Min-Length"] = str(self.rules.least_chunk)
        return Answer(202, b"", headers)

    def _upload(
        self,
        method: str,
        repository: str,
        session: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
        host: str,
    ) -> Answer:
        data = self.sessions.get(session)
        if data is None:
            return error(404, "BLOB_UPLOAD_UNKNOWN")
        if self.rules.largest_body and len(body) > self.rules.largest_body:
            return Answer(413, b"<html>")
        if method == "PUT" and body and not self.rules.whole:
            return error(405, "UNSUPPORTED")
        if method == "PATCH" and not self.rules.appends:
            return error(405, "UNSUPPORTED")
        start = re.match(r"(\d+)-", headers.get("content-range", ""))
        if start and int(start[1]) != len(data):
            return Answer(416, b"", {"Range": f"0-{max(0, len(data) - 1)}"})
        data += body
        return (
            self._accepted(repository, session, host)
            if method == "PATCH"
            else self._finish(repository, session, query)
        )

    def _finish(self, repository: str, session: str, query: Mapping[str, str]) -> Answer:
        data = bytes(self.sessions.pop(session))
        digest = _digest(data)
        if digest != query.get("digest"):
            return error(400, "DIGEST_INVALID")
        self.blobs[digest] = data
        self.held.add((repository, digest))
        return Answer(
            201, b"", {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest}
        )

    def _store(self, repository: str, pointer: str, media_type: str, data: bytes) -> Answer:
        document = json.loads(data)
        parts = [document["config"], *document["layers"]] if "layers" in document else []
        for part in parts:
            here = not self.separate or (repository, part["digest"]) in self.held
            if not here or (part["digest"] not in self.blobs and not part.get("urls")):
                return error(400, "MANIFEST_BLOB_UNKNOWN")
        digest = _digest(data)
        self.manifests[repository, pointer] = self.manifests[repository, digest] = (data, media_type)
        return Answer(
            201, b"", {"Location": f"/v2/{repository}/manifests/{digest}", "Docker-Content-Digest": digest}
        )


def error(status: int, code: str, headers: Mapping[str, str] | None = None) -> Answer:
    """A failure as the distribution spec words it."""
    words = code.lower().replace("_", " ")
    body = json.dumps({"errors": [{"code": code, "message": words}]}).encode()
    return Answer(status, body, {"Content-Type": "application/json", **(headers or {})})


def _content(data: bytes | None, media_type: str, unknown: str, headers: Mapping[str, str]) -> Answer:
    if data is None:
        return error(404, unknown)
    shown = {"Content-Type": media_type, "Docker-Content-Digest": _digest(data)}
    match = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
    if match is None or int(match[1]) >= len(data):
        return Answer(200, data, shown)
    start = int(match[1])
    return Answer(206, data[start:], {**shown, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
