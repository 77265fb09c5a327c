"""Authorizations: what a registry's challenge asks for, obtained once, kept until it expires."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass

from barque.spi.errors import PermissionDenied
from barque.spi.image import Credentials
from barque_image_registry.challenge import Challenge
from barque_image_registry.origin import Origin, PlainHttp
from barque_image_registry.replies import Subject
from barque_image_registry.tokens import Send, TokenRequest, basic, bearer, fetch
from barque_image_registry.wire import Check

__all__ = ["Authenticator", "Identity"]

_MARGIN = 5.0
_MOST_KEPT = 512


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks whom for what: the key under which an authorization is kept. Holds a digest of the credentials, not them."""

    origin: Origin
    scopes: tuple[str, ...]
    credentials: str

    @staticmethod
    def of(origin: Origin, scopes: tuple[str, ...], credentials: Credentials | None) -> Identity:
        secret = "\0".join(
            (
                credentials.username,
                credentials.password,
                credentials.identity_token,
                credentials.registry_token,
            )
            if credentials
            else ()
        )
        return Identity(origin, scopes, hashlib.sha256(secret.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class _Kept:
    header: str
    challenge: Challenge
    expires: float


class Authenticator:
    """Authorization headers by identity. Thread-safe: of several threads that find a token expired, one fetches the next."""

    def __init__(self, plain: PlainHttp, send: Send) -> None:
        self._plain = plain
        self._send = send
        self._lock = threading.Lock()
        self._kept: dict[Identity, _Kept] = {}
        self._locks: dict[Identity, threading.Lock] = {}

    def header(
        self, identity: Identity, subject: Subject, credentials: Credentials | None, check: Check
    ) -> str:
        """What to send unasked: a kept authorization, renewed when it is about to expire; empty when there is none yet."""
        kept = self._kept.get(identity)
        if kept is None:
            return ""
        if time.monotonic() < kept.expires:
            return kept.header
        return self.answer(identity, subject, kept.challenge, credentials, kept.header, check)

    def answer(
        self,
        identity: Identity,
        subject: Subject,
        challenge: Challenge,
        credentials: Credentials | None,
        refused: str,
        check: Check,
    ) -> str:
        """The header that answers `challenge`, other than the `refused` one where possible.

        Errors: PermissionDenied (credentials, or a realm that must not be asked), BrokenTransfer, Busy.
        """
        with self._lock:
            lock = self._locks.setdefault(identity, threading.Lock())
        while not lock.acquire(timeout=0.2):
            check()
        try:
            kept = self._kept.get(identity)
            if kept is None or kept.header == refused:
                # What is asked for is ours to say, whatever the challenge would like to have a token for.
                request = TokenRequest(identity.origin, subject, challenge, identity.scopes, credentials)
                kept = self._make(request, check)
                self._keep(identity, kept)
            return kept.header
        finally:
            lock.release()

    def _keep(self, identity: Identity, kept: _Kept) -> None:
        with self._lock:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[identity] = kept
            if len(self._locks) > 2 * _MOST_KEPT:
                self._locks.clear()

    def _make(self, request: TokenRequest, check: Check) -> _Kept:
        credentials, challenge = request.credentials, request.challenge
        if credentials and credentials.registry_token:
            return _Kept(_given(credentials.registry_token), challenge, float("inf"))
        if challenge.scheme == "basic":
            return _Kept(basic(credentials), challenge, float("inf"))
        token = fetch(request, self._plain, self._send, check)
        return _Kept(token.header, challenge, time.monotonic() + token.seconds - _MARGIN)


def _given(token: str) -> str:
    try:
        return bearer(token)
    except ValueError as error:
        raise PermissionDenied(
            "the registry token is not a bearer token", hint="log in to the registry again"
        ) from error
