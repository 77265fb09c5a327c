"""Upload one blob: skip it, mount it, or send it, going on where an earlier try stopped (distribution spec: pushing blobs)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from urllib.parse import quote

from barque.spi.errors import (
    InvalidArgument,
    NotFound,
    NotImplemented,
    PermissionDenied,
    Unavailable,
)
from barque_image_registry.client import RegistryClient, Repository, Request
from barque_image_registry.connection import Body
from barque_image_registry.origin import Url
from barque_image_registry.retry import Busy
from barque_image_registry.transport import Reply
from barque_image_registry.uploadsource import Blob, SourceFailed, UploadSource
from barque_image_registry.wire import Check

__all__ = ["Blob", "Outcome", "upload"]

_HAS = frozenset({200, 404})
_MOUNTED = frozenset({201, 202})
_BEGUN = frozenset({202})
_STATUS = frozenset({200, 202, 204, 400, 404, 405, 416})
_APPENDED = frozenset({202, 404, 413, 416})
_FINISHED = frozenset({201, 204, 404, 416})
# Answers to a whole blob in one request that other requests may get round.
_TOO_MUCH = frozenset({405, 411, 413, 415, 501})
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,19})")
_LEAST_CHUNK = 1 << 20
_LARGEST_MINIMUM = 1 << 30
_BINARY = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a blob: it was `there`, `mounted` from another repository, or else it was sent."""

    there: bool = False
    mounted: str = ""


def upload(
    client: RegistryClient,
    repository: Repository,
    source: UploadSource,
    mounts: tuple[str, ...],
    chunk_size: int,
    check: Check,
) -> Outcome:
    """Bring the blob of `source` to `repository`. `mounts`: repositories of the same registry that may have it.

    Errors: what the source raises, unchanged; the rest as `RegistryClient.ask`.
    """
    work = _Upload(client, repository, source, mounts, chunk_size, check)
    try:
        return client.retrying(work.attempt, check, patient=True)
    except SourceFailed as failed:
        raise failed.cause from None


class _Upload:
    """One blob on its way, over several tries."""

    def __init__(
        self,
        client: RegistryClient,
        repository: Repository,
        source: UploadSource,
        mounts: tuple[str, ...],
        chunk_size: int,
        check: Check,
    ) -> None:
        self._client, self._repository, self._source, self._check = client, repository, source, check
        self._blob = source.blob
        self._mounts = mounts
        self._chunk = chunk_size
        self._session: Url | None = None
        self._offset = 0
        self._in_chunks = False
        self._sent = False

    def attempt(self) -> Outcome:
        """One try: go on with the session an earlier one left, or begin anew."""
        if not self._resumed():
            if self._exists():
                # After a try whose answer was lost, it is there because that one brought it.
                return Outcome(there=not self._sent)
            mounted = self._begin()
            if mounted:
                return Outcome(mounted=mounted)
        self._sent = True
        self._send()
        return Outcome()

    # -- sessions -----------------------------------------------------------------------------

    def _resumed(self) -> bool:
        """Whether an earlier session is still good; the offset is then what the registry has of it."""
        if self._session is None:
            return False
        request = Request("GET", self._session, _STATUS, {})
        with self._client.ask(self._repository, request, self._check) as reply:
            held = _held(reply) if reply.status in (200, 202, 204) else None
            self._session = self._moved(reply) if held is not None and held <= self._blob.size else None
        self._offset = held or 0
        return self._session is not None

    def _exists(self) -> bool:
        request = Request("HEAD", self._repository.url(f"blobs/{self._blob.digest}"), _HAS, {"Accept": "*/*"})
        with self._client.ask(self._repository, request, self._check) as reply:
            return reply.status == 200

    def _begin(self) -> str:
        """Open a session; or the repository the blob was mounted from, which needs none."""
        self._offset = 0
        mounts, self._mounts = self._mounts, ()
        for other in mounts:
            if self._mount(other):
                return other
        if self._session is None:
            request = Request("POST", self._repository.url("blobs/uploads/"), _BEGUN, {"Content-Length": "0"})
            with self._client.ask(self._repository, request, self._check) as reply:
                self._opened(reply)
        return ""

    def _mount(self, other: str) -> bool:
        """Mount from another repository. A registry that does not, or not from there, offers a session instead, or refuses."""
        query = f"blobs/uploads/?mount={quote(self._blob.digest)}&from={quote(other, safe='')}"
        scopes = (*self._repository.tokens, f"repository:{other}:pull")
        request = Request("POST", self._repository.url(query), _MOUNTED, {"Content-Length": "0"})
        try:
            with self._client.ask(replace(self._repository, scopes=scopes), request, self._check) as reply:
                if reply.status == 201:
                    self._verify(reply)
                    return True
                self._opened(reply)
        except (PermissionDenied, NotFound, NotImplemented, InvalidArgument):
            self._check()
        return False

    def _opened(self, reply: Reply) -> None:
        self._session = self._moved(reply)
        least = reply.headers.get("OCI-Chunk-Min-Length", "").strip()
        if least.isascii() and least.isdigit() and len(least) < 12:
            self._chunk = max(self._chunk, min(int(least), _LARGEST_MINIMUM))

    def _moved(self, reply: Reply) -> Url:
        """Where the session goes on. It may be another host: which then gets no authorization, and must not give up TLS."""
        location = reply.headers.get("Location")
        if not location and self._session is not None:
            return self._session
        if not location:
            raise Unavailable(f"{reply.url.origin.host}: it does not say where to upload to")
        target = reply.url.join(location)
        self._client.transport.plain.check(target, self._repository.origin, "upload location")
        return target

    # -- bytes --------------------------------------------------------------------------------

    def _send(self) -> None:
        if self._offset == 0 and self._blob.size <= self._chunk and not self._in_chunks:
            return self._put_whole()
        while self._offset < self._blob.size:
            self._append()
        return self._finish()

    def _put_whole(self) -> None:
        accept = _FINISHED | _TOO_MUCH
        with self._ask("PUT", self._final(), accept, self._body(self._blob.size), _BINARY) as reply:
            if reply.status in _TOO_MUCH:
                self._in_chunks, self._session = True, None
                raise self._smaller(reply, self._blob.size)
            self._done(reply)

    def _append(self) -> None:
        """One PATCH, of a chunk."""
        count = min(self._chunk, self._blob.size - self._offset)
        end = self._offset + count
        headers = {**_BINARY, "Content-Range": f"{self._offset}-{end - 1}"}
        assert self._session is not None
        with self._ask("PATCH", self._session, _APPENDED, self._body(count), headers) as reply:
            if reply.status == 413:
                raise self._smaller(reply, count)
            self._continue(reply)
            held = _held(reply)
            if held is not None and not self._offset < held <= end:
                self._session = None
                raise Busy(f"{reply.url.origin.host}: has {held} bytes of an upload of {end}", 0)
            self._session = self._moved(reply)
            self._offset = end if held is None else held

    def _finish(self) -> None:
        with self._ask("PUT", self._final(), _FINISHED, None, {"Content-Length": "0"}) as reply:
            self._done(reply)

    def _smaller(self, reply: Reply, sent: int) -> Exception:
        """What to raise for a body that was too large: it is worth trying with less, as long as there is less."""
        said = f"{reply.url.origin.host}: takes no body of {sent} bytes (status {reply.status})"
        if reply.status == 413 and sent <= _LEAST_CHUNK:
            return InvalidArgument(said, hint="raise the limit of the registry, or of the proxy before it")
        self._chunk = max(_LEAST_CHUNK, min(self._chunk, sent) // 4)
        return Busy(said, 0)

    def _done(self, reply: Reply) -> None:
        self._continue(reply)
        self._verify(reply)

    def _continue(self, reply: Reply) -> None:
        """Raise for a session that is gone (404), or has other bytes than we thought (416): the next try sees to it."""
        if reply.status == 404:
            self._session = None
            raise Busy(f"{reply.url.origin.host}: the upload has expired", 0)
        if reply.status == 416:
            raise Busy(f"{reply.url.origin.host}: the upload is not where it should be", 0)

    def _verify(self, reply: Reply) -> None:
        announced = reply.headers.get("Docker-Content-Digest", self._blob.digest)
        if announced != self._blob.digest:
            raise InvalidArgument(
                f"{reply.url.origin.host} stored {announced[:100]!r} for {self._blob.digest}",
                hint="the registry is broken or hostile",
            )

    def _ask(
        self, method: str, url: Url, accept: frozenset[int], body: Body | None, headers: Mapping[str, str]
    ) -> AbstractContextManager[Reply]:
        return self._client.ask(self._repository, Request(method, url, accept, headers, body), self._check)

    def _body(self, count: int) -> Body:
        start = self._offset
        return Body(count, lambda: self._source.pieces(start, count))

    def _final(self) -> Url:
        assert self._session is not None
        separator = "&" if "?" in self._session.target else "?"
        return Url(
            self._session.origin, f"{self._session.target}{separator}digest={quote(self._blob.digest)}"
        )


def _held(reply: Reply) -> int | None:
    """Bytes of the upload the registry has; None when it does not say."""
    match = _RANGE.fullmatch((reply.headers.get("Range") or "").strip())
    if match is None:
        return None
    # "0-0" is what Docker's registry says of an upload without any byte.
    return int(match[1]) + 1 if int(match[1]) else 0
