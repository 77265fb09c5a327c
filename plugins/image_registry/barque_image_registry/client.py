"""Requests to a registry: authorization, redirects followed by hand, tries again where that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from barque.spi.errors import PermissionDenied, Unavailable
from barque.spi.image import Credentials
from barque_image_registry import challenge
from barque_image_registry.auth import Authenticator, Identity
from barque_image_registry.connection import Body
from barque_image_registry.origin import Origin, Url
from barque_image_registry.replies import Subject, failure
from barque_image_registry.retry import RetryPolicy
from barque_image_registry.transport import Reply, Transport
from barque_image_registry.wire import Check

__all__ = ["RegistryClient", "Repository", "Request"]

T = TypeVar("T")

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Only these keep method and body (RFC 9110, 15.4).
_SAME_REQUEST = frozenset({307, 308})
_MOST_REDIRECTS = 5
_DISCARDED = 64 << 10


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository at one endpoint, and how to speak of it. `credentials` are for this endpoint only; `scopes` are what tokens are for."""

    origin: Origin
    prefix: str
    path: str
    subject: Subject
    credentials: Credentials | None = None
    scopes: tuple[str, ...] = ()

    def url(self, rest: str) -> Url:
        """`/v2/<name>/<rest>`. `rest` is made of verified tags and digests only."""
        return Url(self.origin, f"{self.prefix}/v2/{self.path}/{rest}")

    @property
    def tokens(self) -> tuple[str, ...]:
        """The scopes: unless said otherwise, to pull."""
        return self.scopes or (f"repository:{self.path}:pull",)


@dataclass(frozen=True, slots=True)
class Request:
    """A request about a repository, to wherever `url` is. An answer with a status not among `accept` is a failure."""

    method: str
    url: Url
    accept: frozenset[int]
    headers: Mapping[str, str]
    body: bytes | Body | None = None


class RegistryClient:
    """Requests to registries. Thread-safe."""

    def __init__(self, transport: Transport, retries: RetryPolicy) -> None:
        self._transport = transport
        self._retries = retries
        self._authenticator = Authenticator(transport.plain, self.follow)

    @property
    def transport(self) -> Transport:
        """What the requests go over."""
        return self._transport

    def retrying(self, action: Callable[[], T], check: Check, patient: bool = False) -> T:
        """Run `action`, which makes one request, until it succeeds or may not be tried again; see `RetryPolicy.run`."""
        return self._retries.run(action, check, patient)

    @contextmanager
    def get(
        self,
        repository: Repository,
        rest: str,
        headers: Mapping[str, str],
        accept: frozenset[int],
        check: Check,
    ) -> Iterator[Reply]:
        """One try to GET `/v2/<name>/<rest>`; see `ask`."""
        with self.ask(repository, Request("GET", repository.url(rest), accept, headers), check) as reply:
            yield reply

    @contextmanager
    def ask(self, repository: Repository, request: Request, check: Check) -> Iterator[Reply]:
        """One try. The answer has one of the accepted statuses; anything else is raised: BarqueError, Busy, BrokenTransfer."""
        reply = self._authorized(repository, request, check)
        with reply:
            if reply.status not in request.accept:
                raise failure(reply, repository.subject, _has_secret(repository.credentials))
            yield reply
            reply.drain(_DISCARDED)

    def _authorized(self, repository: Repository, request: Request, check: Check) -> Reply:
        if request.url.origin != repository.origin:
            # A stranger, such as the store an upload is sent to: it gets no authorization, and may not ask for any.
            return self.follow(request.method, request.url, dict(request.headers), request.body, check)
        identity = Identity.of(repository.origin, repository.tokens, repository.credentials)
        known = self._authenticator.header(identity, repository.subject, repository.credentials, check)
        reply = self._send(request, known, check)
        # Only the registry itself may ask for credentials, not a host it redirected to.
        if reply.status != 401 or reply.url.origin != repository.origin:
            return reply
        asked = challenge.choose(challenge.parse(reply.headers.get_all("WWW-Authenticate") or ()))
        if asked is None:
            return reply
        with reply:
            reply.read_at_most(_DISCARDED)
        fresh = self._authenticator.answer(
            identity, repository.subject, asked, repository.credentials, known, check
        )
        return self._send(request, fresh, check)

    def _send(self, request: Request, authorization: str, check: Check) -> Reply:
        headers = dict(request.headers) | ({"Authorization": authorization} if authorization else {})
        return self.follow(request.method, request.url, headers, request.body, check)

    def follow(
        self, method: str, url: Url, headers: dict[str, str], body: bytes | Body | None, check: Check
    ) -> Reply:
        """One request and the redirects it meets. Authorization goes to the first origin only, a body in memory (which may hold
        secrets) to no other."""
        first = url.origin
        followed = _REDIRECTS if method in ("GET", "HEAD") else _SAME_REQUEST
        for _ in range(_MOST_REDIRECTS + 1):
            sent = (
                headers if url.origin == first else {k: v for k, v in headers.items() if k != "Authorization"}
            )
            reply = self._transport.exchange(method, url, sent, check, body)
            location = reply.headers.get("Location")
            if reply.status not in followed or not location:
                return reply
            with reply:
                reply.read_at_most(_DISCARDED)
            target = url.join(location)
            self._transport.plain.check(target, url.origin, "redirect")
            if isinstance(body, bytes) and target.origin != first:
                raise PermissionDenied(f"{url.origin.host} redirects a {method} to {target.origin.host}")
            url = target
        raise Unavailable(
            f"{first.host}: more than {_MOST_REDIRECTS} redirects", hint="the registry is misconfigured"
        )


def _has_secret(credentials: Credentials | None) -> bool:
    return credentials is not None and credentials != Credentials()
