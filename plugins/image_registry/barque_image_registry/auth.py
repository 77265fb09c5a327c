"""Tokens: what a registry's challenge asks for, fetched once, kept until it expires (distribution spec: token authentication)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from barque.spi.errors import PermissionDenied
from barque.spi.image import Credentials
from barque_image_registry.challenge import Challenge
from barque_image_registry.origin import Origin, PlainHttp, Url, parse_url
from barque_image_registry.replies import Subject, failure
from barque_image_registry.transport import BrokenTransfer, Reply
from barque_image_registry.wire import Check

__all__ = ["Authenticator", "Identity"]

_LARGEST_ANSWER = 1 << 20
_SHORTEST_LIFE = 60.0
_MARGIN = 5.0
_MOST_KEPT = 512
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_CLIENT = "barque"

# (method, url, headers, body, check) -> answer, redirects followed.
Send = Callable[[str, Url, dict[str, str], bytes | None, Check], Reply]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks whom for what: the key under which an authorization is kept. Holds a digest of the credentials, not them."""

    origin: Origin
    repository: str
    credentials: str

    @staticmethod
    def of(origin: Origin, repository: str, credentials: Credentials | None) -> Identity:
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
        return Identity(origin, repository, hashlib.sha256(secret.encode()).hexdigest())


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
                kept = self._make(identity, subject, challenge, credentials, check)
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

    def _make(
        self,
        identity: Identity,
        subject: Subject,
        challenge: Challenge,
        credentials: Credentials | None,
        check: Check,
    ) -> _Kept:
        if credentials and credentials.registry_token:
            return _Kept(f"Bearer {_valid(credentials.registry_token)}", challenge, float("inf"))
        if challenge.scheme == "basic":
            return _Kept(_basic(credentials), challenge, float("inf"))
        return self._token(identity, subject, challenge, credentials, check)

    def _token(
        self,
        identity: Identity,
        subject: Subject,
        challenge: Challenge,
        credentials: Credentials | None,
        check: Check,
    ) -> _Kept:
        realm = parse_url(challenge.parameters["realm"])
        self._plain.check(realm, identity.origin, "token realm")
        # Pull of this repository, whatever the challenge would like to have a token for.
        fields = {
            "service": challenge.parameters.get("service", ""),
            "scope": f"repository:{identity.repository}:pull",
        }
        if credentials and credentials.identity_token:
            fields |= {
                "grant_type": "refresh_token",
                "client_id": _CLIENT,
                "refresh_token": credentials.identity_token,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            reply = self._send("POST", realm, headers, urlencode(fields).encode(), check)
        else:
            headers = {"Authorization": _basic(credentials)} if credentials and credentials.username else {}
            query = urlencode({key: value for key, value in fields.items() if value})
            separator = "&" if "?" in realm.target else "?"
            reply = self._send(
                "GET", Url(realm.origin, f"{realm.target}{separator}{query}"), headers, None, check
            )
        with reply:
            if reply.status != 200:
                raise failure(reply, subject, credentials is not None)
            return _read_token(reply.read_at_most(_LARGEST_ANSWER), challenge)


def _read_token(data: bytes | None, challenge: Challenge) -> _Kept:
    try:
        document = json.loads(data or b"")
        token = _valid(document.get("token") or document.get("access_token"))
        life = document.get("expires_in", _SHORTEST_LIFE)
        seconds = max(float(life), _SHORTEST_LIFE) if isinstance(life, int | float) else _SHORTEST_LIFE
    except (ValueError, AttributeError, TypeError, RecursionError, OverflowError) as error:
        raise BrokenTransfer("the token server's answer is not a token") from error
    return _Kept(f"Bearer {token}", challenge, time.monotonic() + seconds - _MARGIN)


def _valid(token: object) -> str:
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise ValueError("not a bearer token (RFC 6750, 2.1)")
    return token


def _basic(credentials: Credentials | None) -> str:
    if credentials is None or not credentials.username:
        raise PermissionDenied("no basic auth credentials", hint="log in to the registry first")
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"
