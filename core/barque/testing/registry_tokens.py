"""Authorization of `barque.testing.registry`: tokens with scopes, identity tokens, basic authentication."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

__all__ = ["Tokens"]

_WRITES = ("POST", "PATCH", "PUT", "DELETE")
_REPOSITORY = re.compile(r"/v2/(.+?)/(?:manifests|blobs|tags)/")


@dataclass
class Tokens:
    """Token authentication. A token is good for `uses` requests. With `username`, only for those who know the `password`;
    `refresh_token` is what an identity token must be, `identity` the one that a login is given. `realm` and `service` are announced as
    they are. `may_push`: whether tokens allow what `push` scopes ask for. `scopes`: all that was asked for, one tuple a token."""

    uses: int = 1_000_000
    username: str = ""
    password: str = ""
    refresh_token: str = ""
    realm: str = ""
    service: str = "test"
    expires_in: int = 300
    basic: bool = False
    valid: dict[str, int] = field(default_factory=dict)
    identity: str = ""
    may_push: bool = True
    scopes: list[tuple[str, ...]] = field(default_factory=list)
    granted: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def refusal(self, method: str, target: str, authorization: str) -> str:
        """Why a request may not enter, as the `error` of a challenge; empty when it may."""
        if self.basic:
            return "" if authorization == f"Basic {_pair(self.username, self.password)}" else "invalid_token"
        token = authorization.removeprefix("Bearer ")
        left = self.valid.get(token, 0)
        self.valid[token] = left - 1
        if left <= 0:
            return "invalid_token"
        return "" if self._suffices(self.granted.get(token, ()), method, target) else "insufficient_scope"

    def _suffices(self, granted: tuple[str, ...], method: str, target: str) -> bool:
        match = _REPOSITORY.match(target)
        if match is None:
            return True
        action = "push" if method in _WRITES else "pull"
        needed = [(match[1], action)]
        needed += [(other, "pull") for other in parse_qs(urlsplit(target).query).get("from", [])]
        return all(self._grants(granted, repository, action) for repository, action in needed)

    def _grants(self, granted: tuple[str, ...], repository: str, action: str) -> bool:
        if action == "push" and not self.may_push:
            return False
        prefix = f"repository:{repository}:"
        return any(s.startswith(prefix) and action in s[len(prefix) :].split(",") for s in granted)

    def challenge(self, registry: str, error: str) -> str:
        """The WWW-Authenticate header of a refusal."""
        if self.basic:
            return 'Basic realm="test"'
        bearer = f'Bearer realm="{self.realm or f"{registry}/token"}",service="{self.service}",scope="repository:any:pull,push"'
        return bearer + (f',error="{error}"' if error else "")

    def give(self, target: str, headers: Mapping[str, str], body: bytes) -> bytes | None:
        """The answer of the token server; None: it does not know who asks."""
        query = parse_qs(urlsplit(target).query)
        form = parse_qs(body.decode())
        known = (
            not self.username
            or headers.get("authorization") == f"Basic {_pair(self.username, self.password)}"
        )
        if self.refresh_token:
            known = form.get("refresh_token") == [self.refresh_token]
        if not known:
            return None
        token = secrets.token_urlsafe(16)
        asked = tuple(query.get("scope", [])) or tuple(" ".join(form.get("scope", [])).split())
        self.scopes.append(asked)
        self.valid[token], self.granted[token] = self.uses, asked
        answer = {
            "token": token,
            "expires_in": self.expires_in,
            "issued_at": time.strftime("%FT%TZ", time.gmtime()),
        }
        if self.identity and query.get("offline_token") == ["true"]:
            answer["refresh_token"] = self.identity
        return json.dumps(answer).encode()


def _pair(username: str, password: str) -> str:
    return base64.b64encode(f"{username}:{password}".encode()).decode()
