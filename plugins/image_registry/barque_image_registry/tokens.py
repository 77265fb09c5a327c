"""Tokens from the server a registry's challenge names (distribution spec: token and OAuth2 authentication)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from barque.spi.errors import PermissionDenied
from barque.spi.image import Credentials
from barque_image_registry.challenge import Challenge
from barque_image_registry.connection import BrokenTransfer
from barque_image_registry.origin import Origin, PlainHttp, Url, parse_url
from barque_image_registry.replies import Subject, failure
from barque_image_registry.transport import Reply
from barque_image_registry.wire import Check

__all__ = ["Send", "Token", "TokenRequest", "basic", "bearer", "fetch"]

_LARGEST_ANSWER = 1 << 20
_SHORTEST_LIFE = 60.0
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,16384}")
_CLIENT = "barque"

# (method, url, headers, body, check) -> answer, redirects followed.
Send = Callable[[str, Url, dict[str, str], bytes | None, Check], Reply]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """Who (`credentials`) wants what (`scopes`) of the registry at `origin`, whose challenge this answers. `lasting`: with an identity token."""

    origin: Origin
    subject: Subject
    challenge: Challenge
    scopes: tuple[str, ...]
    credentials: Credentials | None
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """A token, how long it is good for, and the identity token that came with it."""

    header: str
    seconds: float
    identity: str = ""


def fetch(request: TokenRequest, plain: PlainHttp, send: Send, check: Check) -> Token:
    """Ask for a token. Errors: PermissionDenied (credentials, or a realm that must not be asked), BrokenTransfer, Busy."""
    realm = parse_url(request.challenge.parameters["realm"])
    plain.check(realm, request.origin, "token realm")
    credentials = request.credentials
    with (
        _post(request, realm, send, check)
        if _has_identity(credentials)
        else _get(request, realm, send, check) as reply
    ):
        if reply.status != 200:
            raise failure(reply, request.subject, credentials is not None)
        return _read(reply.read_at_most(_LARGEST_ANSWER))


def basic(credentials: Credentials | None) -> str:
    """The header of basic authentication. PermissionDenied without a user name."""
    if credentials is None or not credentials.username:
        raise PermissionDenied("no basic auth credentials", hint="log in to the registry first")
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"


def bearer(token: object) -> str:
    """The header of a token. ValueError when it is none (RFC 6750, 2.1)."""
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise ValueError("not a bearer token")
    return f"Bearer {token}"


def _has_identity(credentials: Credentials | None) -> bool:
    return credentials is not None and bool(credentials.identity_token)


def _post(request: TokenRequest, realm: Url, send: Send, check: Check) -> Reply:
    assert request.credentials is not None
    fields = {
        "service": request.challenge.parameters.get("service", ""),
        "scope": " ".join(request.scopes),
        "grant_type": "refresh_token",
        "client_id": _CLIENT,
        "refresh_token": request.credentials.identity_token,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return send("POST", realm, headers, urlencode(fields).encode(), check)


def _get(request: TokenRequest, realm: Url, send: Send, check: Check) -> Reply:
    named = request.credentials is not None and bool(request.credentials.username)
    fields = [("service", request.challenge.parameters.get("service", ""))]
    fields += [("scope", scope) for scope in request.scopes]
    if request.lasting:
        fields += [("offline_token", "true"), ("client_id", _CLIENT)]
    query = urlencode([(name, value) for name, value in fields if value])
    separator = "&" if "?" in realm.target else "?"
    url = Url(realm.origin, f"{realm.target}{separator}{query}")
    return send("GET", url, {"Authorization": basic(request.credentials)} if named else {}, None, check)


def _read(data: bytes | None) -> Token:
    try:
        document = json.loads(data or b"")
        header = bearer(document.get("token") or document.get("access_token"))
        life = document.get("expires_in", _SHORTEST_LIFE)
        seconds = max(float(life), _SHORTEST_LIFE) if isinstance(life, int | float) else _SHORTEST_LIFE
        identity = document.get("refresh_token")
    except (ValueError, AttributeError, TypeError, RecursionError, OverflowError) as error:
        raise BrokenTransfer("the token server's answer is not a token") from error
    usable = isinstance(identity, str) and _PRINTABLE.fullmatch(identity)
    return Token(header, seconds, str(identity) if usable else "")
