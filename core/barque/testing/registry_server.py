"""The HTTP side of `barque.testing.registry`: answers as a registry does, or as the injected fault says."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from barque.testing.registry_contents import Answer, Contents, error
from barque.testing.registry_tokens import Tokens

__all__ = ["Fault", "RegistryServer", "Seen", "Tokens"]

_PIECE = 64 << 10


@dataclass
class Fault:
    """What to do instead of a right answer, to the next `times` requests whose path contains `path` (and of this `method`).

    status    answer `status` with `headers` and the text `body`
    truncate  announce the whole body, close after `after` bytes
    reset     the same, with a TCP reset
    stall     the same, but keep the connection open and silent
    drip      send one byte every `pause` seconds after `after` bytes
    corrupt   flip the last bit of the body
    extra     announce and send ten bytes more
    whole     ignore a Range header: 200 and the whole body
    headers   right body, but with these `headers` put in or (value "") left out

    And of requests with a body:

    cut       read `after` bytes of it (an upload keeps them), then a TCP reset
    choke     read `after` bytes of it, and no more while the connection stays open
    early     as `status`, but before the body is read, then close
    lost      do what was asked, but reset the connection instead of answering
    expired   forget the upload, so that it is unknown
    """

    kind: str
    path: str = ""
    times: int = 1_000_000
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    after: int = 0
    pause: float = 0.5
    method: str = ""

    def matches(self, method: str, path: str) -> bool:
        """Whether it applies to a request."""
        return self.times > 0 and self.path in path and self.method in ("", method)


@dataclass(frozen=True)
class Seen:
    """A request as it came, with at most 64 KiB of its body. Header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class _Registry(Protocol):
    """What the server asks `FaultyRegistry` for."""

    tokens: Tokens | None
    seen: list[Seen]
    contents: Contents
    connections: int
    released: threading.Event

    @property
    def url(self) -> str: ...
    def take_fault(self, method: str, path: str) -> Fault | None: ...


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
    # An answer to a request whose body is not read must be out before the reset that closing sends.
    disable_nagle_algorithm = True
    server: RegistryServer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

    def _serve(self) -> None:
        registry = self.server.registry
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = registry.take_fault(self.command, self.path)
        kind = fault.kind if fault else ""
        if fault is not None and kind == "early":
            registry.seen.append(Seen(self.command, self.path, headers))
            self.close_connection = True
            return self._send(Answer(fault.status, fault.body.encode(), fault.headers))
        length = int(headers.get("content-length", "0"))
        cut_short = fault is not None and kind in ("cut", "choke")
        body = self._body(min(length, fault.after) if fault and cut_short else length)
        registry.seen.append(Seen(self.command, self.path, headers, body[:_PIECE]))
        if fault is not None and cut_short:
            return self._cut(fault, body)
        if fault is not None and kind == "status":
            return self._send(Answer(fault.status, fault.body.encode(), fault.headers))
        if kind == "expired":
            registry.contents.sessions.pop(self._session(), None)
        answer = self._answer(headers, body, kind == "whole")
        if kind == "lost":
            return self._reset()
        return self._send(answer, fault)

    def _answer(self, headers: Mapping[str, str], body: bytes, ignore_range: bool) -> Answer:
        registry = self.server.registry
        if self.path.startswith("/token"):
            assert registry.tokens is not None
            token = registry.tokens.give(self.path, headers, body)
            return (
                Answer(200, token, {"Content-Type": "application/json"})
                if token
                else error(401, "UNAUTHORIZED")
            )
        if registry.tokens is not None:
            refusal = registry.tokens.refusal(self.command, self.path, headers.get("authorization", ""))
            if refusal:
                challenge = registry.tokens.challenge(registry.url, refusal)
                return error(401, "UNAUTHORIZED", {"WWW-Authenticate": challenge})
        if ignore_range:
            headers = {name: value for name, value in headers.items() if name != "range"}
        return registry.contents.answer(self.command, self.path, headers, body, registry.url)

    def _body(self, length: int) -> bytes:
        parts = []
        while length > 0 and (part := self.rfile.read(min(length, _PIECE))):
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _session(self) -> str:
        match = re.search(r"/uploads/([^/?]+)", self.path)
        return match[1] if match else ""

    def _cut(self, fault: Fault, body: bytes) -> None:
        self.server.registry.contents.append(self._session(), body)
        self.close_connection = True
        if fault.kind == "choke":
            self.server.registry.released.wait()
        else:
            self._reset()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _send(self, answer: Answer, fault: Fault | None = None) -> None:
        kind, data = fault.kind if fault else "", answer.data
        if kind == "corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        elif kind == "extra":
            data += b"ten bytes."
        headers = {**answer.headers, **(fault.headers if fault else {})}
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            if value:
                self.send_header(name, value)
        if "Content-Length" in headers:
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return
        whole = fault is None or kind not in ("truncate", "reset", "stall", "drip")
        self.wfile.write(data if whole or fault is None else data[: fault.after])
        if fault is not None and not whole:
            self._misbehave(fault, data[fault.after :])

    def _misbehave(self, fault: Fault, rest: bytes) -> None:
        self.close_connection = True
        self.wfile.flush()
        if fault.kind == "reset":
            self._reset()
        elif fault.kind == "stall":
            self.server.registry.released.wait()
        elif fault.kind == "drip":
            for byte in rest:
                self.wfile.write(bytes([byte]))
                if self.server.registry.released.wait(fault.pause):
                    return
