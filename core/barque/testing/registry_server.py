"""The HTTP side of `barque.testing.registry`: answers as a registry does, or as the injected fault says."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import socket
import ssl
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Protocol

__all__ = ["Fault", "RegistryServer", "Seen", "Tokens"]

_PATH = re.compile(r"/v2/(.+)/(manifests|blobs)/([^/]+)")


@dataclass
class Fault:
    """What to do instead of a right answer, to the next `times` requests whose path contains `path`.

    status    answer `status` with `headers` and the text `body`
    truncate  announce the whole body, close after `after` bytes
    reset     the same, with a TCP reset
    stall     the same, but keep the connection open and silent
    drip      send one byte every `pause` seconds after `after` bytes
    corrupt   flip the last bit of the body
    extra     announce and send ten bytes more
    whole     ignore a Range header: 200 and the whole body
    headers   right body, but with these `headers` put in or (value "") left out
    """

    kind: str
    path: str = ""
    times: int = 1_000_000
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    after: int = 0
    pause: float = 0.5


@dataclass(frozen=True)
class Seen:
    """A request as it came. Header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class Tokens:
    """Token authentication. A token is good for `uses` requests. With `username`, only for those who know the `password`;
    `refresh_token` is what an identity token must be. `realm` and `service` are announced as they are."""

    uses: int = 1_000_000
    username: str = ""
    password: str = ""
    refresh_token: str = ""
    realm: str = ""
    service: str = "test"
    expires_in: int = 300
    basic: bool = False
    valid: dict[str, int] = field(default_factory=dict)


class _Registry(Protocol):
    """What the server asks `FaultyRegistry` for."""

    tokens: Tokens | None
    seen: list[Seen]
    blobs: dict[str, bytes]
    manifests: dict[tuple[str, str], tuple[bytes, str]]
    connections: int
    released: threading.Event

    @property
    def url(self) -> str: ...
    def take_fault(self, path: str) -> Fault | None: ...


class RegistryServer(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def __init__(self, registry: _Registry) -> None:
        self.registry = registry
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.registry.connections += 1
        self._open.add(request)
        try:
            if self.tls is not None:
                request = self.tls.wrap_socket(request, server_side=True)
                self._open.add(request)
            super().finish_request(request, client_address)
        except OSError:
            pass  # the client went away, or does not like the certificate: what tests are about
        finally:
            request.close()
            self._open.discard(request)

    def hang_up(self) -> None:
        """Shut the connections that are still open, so that their threads end."""
        for connection in tuple(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RegistryServer
    _answers: ClassVar[Mapping[str, str]] = {"manifests": "MANIFEST_UNKNOWN", "blobs": "BLOB_UNKNOWN"}

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _serve(self, body: bytes) -> None:
        registry = self.server.registry
        headers = {name.lower(): value for name, value in self.headers.items()}
        registry.seen.append(Seen(self.command, self.path, headers, body))
        fault = registry.take_fault(self.path)
        if fault is not None and fault.kind == "status":
            self._send(fault.status, fault.body.encode(), fault.headers)
        elif self.path.startswith("/token"):
            self._give_token(headers, body)
        elif registry.tokens is not None and not self._may_enter(
            registry.tokens, headers.get("authorization", "")
        ):
            self._challenge(registry.tokens)
        else:
            self._content(headers, fault)

    def _content(self, headers: Mapping[str, str], fault: Fault | None) -> None:
        match = _PATH.fullmatch(self.path.partition("?")[0])
        registry = self.server.registry
        if match is None:
            return self._send(200 if self.path == "/v2/" else 404, b"{}", {})
        repository, kind, pointer = match.groups()
        if kind == "manifests":
            data, media_type = registry.manifests.get((repository, pointer), (None, ""))
        else:
            data, media_type = registry.blobs.get(pointer), "application/octet-stream"
        if data is None:
            return self._error(404, self._answers[kind])
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        answer = {
            "Content-Type": media_type,
            "Docker-Content-Digest": digest,
            **(fault.headers if fault else {}),
        }
        start = self._range(headers.get("range", ""), len(data))
        if start is None or (fault is not None and fault.kind == "whole"):
            return self._send(200, data, answer, fault)
        answer["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._send(206, data[start:], answer, fault)

    @staticmethod
    def _range(value: str, size: int) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", value)
        return int(match[1]) if match and int(match[1]) < size else None

    def _send(self, status: int, data: bytes, headers: Mapping[str, str], fault: Fault | None = None) -> None:
        kind = fault.kind if fault else ""
        if kind == "corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        elif kind == "extra":
            data += b"ten bytes."
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            if value:
                self.send_header(name, value)
        if "Content-Length" in headers:
            self.close_connection = True
        self.end_headers()
        whole = fault is None or kind not in ("truncate", "reset", "stall", "drip")
        self.wfile.write(data if whole or fault is None else data[: fault.after])
        if fault is not None and not whole:
            self._misbehave(fault, data[fault.after :])

    def _misbehave(self, fault: Fault, rest: bytes) -> None:
        self.close_connection = True
        self.wfile.flush()
        if fault.kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif fault.kind == "stall":
            self.server.registry.released.wait()
        elif fault.kind == "drip":
            for byte in rest:
                self.wfile.write(bytes([byte]))
                if self.server.registry.released.wait(fault.pause):
                    return

    def _error(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        words = code.lower().replace("_", " ")
        body = json.dumps({"errors": [{"code": code, "message": words}]}).encode()
        self._send(status, body, {"Content-Type": "application/json", **(headers or {})})

    def _may_enter(self, tokens: Tokens, authorization: str) -> bool:
        if tokens.basic:
            pair = f"{tokens.username}:{tokens.password}".encode()
            return authorization == f"Basic {base64.b64encode(pair).decode()}"
        token = authorization.removeprefix("Bearer ")
        left = tokens.valid.get(token, 0)
        tokens.valid[token] = left - 1
        return left > 0

    def _challenge(self, tokens: Tokens) -> None:
        realm = tokens.realm or f"{self.server.registry.url}/token"
        bearer = f'Bearer realm="{realm}",service="{tokens.service}",scope="repository:any:pull,push"'
        self._error(
            401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="test"' if tokens.basic else bearer}
        )

    def _give_token(self, headers: Mapping[str, str], body: bytes) -> None:
        tokens = self.server.registry.tokens
        assert tokens is not None
        pair = base64.b64encode(f"{tokens.username}:{tokens.password}".encode()).decode()
        known = not tokens.username or headers.get("authorization") == f"Basic {pair}"
        if tokens.refresh_token:
            known = f"refresh_token={tokens.refresh_token}".encode() in body
        if not known:
            return self._error(401, "UNAUTHORIZED")
        token = secrets.token_urlsafe(16)
        tokens.valid[token] = tokens.uses
        answer = {
            "token": token,
            "expires_in": tokens.expires_in,
            "issued_at": time.strftime("%FT%TZ", time.gmtime()),
        }
        return self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
