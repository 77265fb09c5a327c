"""Who may ask at all: browsers may not, and the profile's authorization drivers have a say."""

from __future__ import annotations

import ipaddress
import re

from barque.spi.authorization import AuthorizationRequest
from barque.spi.errors import PermissionDenied
from barque.spi.frontend import Engine
from barque_api_docker.connection import Connection
from barque_api_docker.http import Request
from barque_api_docker.limits import Limits

__all__ = ["Admission"]

_SITES = ("same-origin", "none")
# Requests whose bodies are streams of any length, which nobody can hold to look at.
_STREAMS = re.compile(r"PUT /containers/[^/]+/archive|POST /(?:images/load|build|session)")
_IMPORT = "POST /images/create"
_SECRET_HEADERS = frozenset({"x-registry-auth", "x-registry-config", "authorization"})


class Admission:
    """Asked before anything of a request is done."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits
        self._asks = engine.authorizing

    def check_origin(self, connection: Connection, request: Request) -> None:
        """Refuse what a page in a browser sends. Errors: PermissionDenied.

        A script's request carries `Origin` (RFC 6454), most others `Sec-Fetch-Site`; a page that made its own name lead here (DNS
        rebinding) gives that name as `Host`, which only matters where a browser can connect and no certificate is asked for: TCP in clear.
        """
        headers = request.headers
        origin = headers.get("origin")
        if (
            origin is not None
            and origin not in self._limits.origins
            and not _same(origin, headers.get("host", ""))
        ):
            raise PermissionDenied("cross-origin requests are not allowed")
        if headers.get("sec-fetch-site", "none") not in _SITES and origin not in self._limits.origins:
            raise PermissionDenied("cross-site requests are not allowed")
        if connection.open_to_browsers:
            self._check_host(headers.get("host", ""))

    def _check_host(self, host: str) -> None:
        name = host.rpartition(":")[0] if re.search(r":\d*$", host) else host
        # An address is nobody's name, and a name of one part is none that a stranger could give himself.
        if not name or "." not in name or name.lower().endswith(".localhost") or _is_address(name):
            return
        if name.lower() not in self._limits.hosts:
            raise PermissionDenied(f"the name {name[:100]!r} is not one of this daemon's")

    def authorize(self, connection: Connection, request: Request, path: str) -> None:
        """Ask the authorization drivers, if there are any. `path` is without its version. Errors: PermissionDenied, ProtocolError."""
        if not self._asks:
            return
        streams = _is_stream(request, path)
        headers = {name: text for name, text in request.headers.items() if name not in _SECRET_HEADERS}
        asked = AuthorizationRequest(
            user=connection.user,
            method=request.method,
            target=request.target,
            path=path,
            headers=headers,
            body=None if streams else request.body.keep(self._limits.max_body),
        )
        self._engine.authorize(asked)


def _is_stream(request: Request, path: str) -> bool:
    line = f"{request.method} {path}"
    return bool(_STREAMS.fullmatch(line)) or (line == _IMPORT and "fromSrc" in request.query)


def _same(origin: str, host: str) -> bool:
    return bool(host) and origin.partition("://")[2].lower() == host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
