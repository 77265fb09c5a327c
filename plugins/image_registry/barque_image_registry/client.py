"""GET from a registry: authorization, redirects followed by hand, tries again where that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from barque.spi.errors import PermissionDenied, Unavailable
from barque.spi.image import Credentials
from barque_image_registry import challenge
from barque_image_registry.auth import Authenticator, Identity
from barque_image_registry.origin import Origin, Url
from barque_image_registry.replies import Subject, failure
from barque_image_registry.retry import RetryPolicy
from barque_image_registry.transport import Reply, Transport
from barque_image_registry.wire import Check

__all__ = ["RegistryClient", "Repository"]

T = TypeVar("T")

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_DISCARDED = 64 << 10


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository at one endpoint, and how to speak of it. `credentials` are for this endpoint only."""

    origin: Origin
    prefix: str
    path: str
    subject: Subject
    credentials: Credentials | None = None

    def url(self, rest: str) -> Url:
        """`/v2/<name>/<rest>`. `rest` is made of verified tags and digests only."""
        return Url(self.origin, f"{self.prefix}/v2/{self.path}/{rest}")


class RegistryClient:
    """Requests to registries. Thread-safe."""

    def __init__(self, transport: Transport, retries: RetryPolicy) -> None:
        self._transport = transport
        self._retries = retries
        self._authenticator = Authenticator(transport.plain, self._follow)

    def retrying(self, action: Callable[[], T], check: Check, patient: bool = False) -> T:
        """Run `action`, which calls `get` once, until it succeeds or may not be tried again; see `RetryPolicy.run`."""
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
        """One try. The answer has a status of `accept`; anything else is raised: BarqueError, Busy, BrokenTransfer."""
        reply = self._authorized(repository, repository.url(rest), headers, check)
        with reply:
            if reply.status not in accept:
                raise failure(reply, repository.subject, _has_secret(repository.credentials))
            yield reply

    def _authorized(
        self, repository: Repository, url: Url, headers: Mapping[str, str], check: Check
    ) -> Reply:
        identity = Identity.of(repository.origin, repository.path, repository.credentials)
        known = self._authenticator.header(identity, repository.subject, repository.credentials, check)
        reply = self._follow("GET", url, _with(headers, known), None, check)
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
        return self._follow("GET", url, _with(headers, fresh), None, check)

    def _follow(
        self, method: str, url: Url, headers: dict[str, str], body: bytes | None, check: Check
    ) -> Reply:
        """One request and the redirects it meets. Authorization goes to the first origin only."""
        first = url.origin
        for _ in range(_MOST_REDIRECTS + 1):
            sent = (
                headers if url.origin == first else {k: v for k, v in headers.items() if k != "Authorization"}
            )
            reply = self._transport.exchange(method, url, sent, check, body)
            location = reply.headers.get("Location")
            if reply.status not in _REDIRECTS or not location:
                return reply
            with reply:
                reply.read_at_most(_DISCARDED)
            target = url.join(location)
            self._transport.plain.check(target, url.origin, "redirect")
            if method != "GET" and target.origin != first:
                raise PermissionDenied(f"{url.origin.host} redirects a token request to {target.origin.host}")
            url = target
        raise Unavailable(
            f"{first.host}: more than {_MOST_REDIRECTS} redirects", hint="the registry is misconfigured"
        )


def _with(headers: Mapping[str, str], authorization: str) -> dict[str, str]:
    return {**headers, "Authorization": authorization} if authorization else dict(headers)


def _has_secret(credentials: Credentials | None) -> bool:
    return credentials is not None and credentials != Credentials()
