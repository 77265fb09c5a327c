"""A daemon that answers what a test tells it to, over real HTTP on a unix socket; one thread a connection."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

Handler = Callable[["Request", "Exchange"], None]


class Request:
    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        path, _, query = target.partition("?")
        self.method = method
        self.raw_path = path
        self.path = re.sub(r"^/v1\.\d+", "", unquote(path))
        self.target = target
        self.queries = parse_qs(query, keep_blank_values=True)
        self.query = {key: values[-1] for key, values in self.queries.items()}
        self.headers = headers
        self.body = body

    @cached_property
    def document(self) -> Any:
        return json.loads(self.body) if self.body else None

    def __repr__(self) -> str:
        return f"{self.method} {self.path}"


class Exchange:
    """One answer: whole, chunked piece by piece, or the raw connection."""

    def __init__(self, connection: socket.socket, rest: bytes) -> None:
        self.connection = connection
        self.rest = rest

    def send(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.connection.sendall(
            f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode()
            + body
        )

    def json(self, document: Any, status: int = 200) -> None:
        self.send(status, json.dumps(document).encode())

    def error(self, status: int, message: str, **extra: str) -> None:
        self.json({"message": message, **extra}, status)

    def begin(self, kind: str = "application/json") -> None:
        self.connection.sendall(
            f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )

    def chunk(self, data: bytes) -> None:
        self.connection.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def end(self) -> None:
        self.connection.sendall(b"0\r\n\r\n")

    def upgrade(self, kind: str = "application/vnd.docker.multiplexed-stream") -> None:
        self.connection.sendall(
            f"HTTP/1.1 101 UPGRADED\r\nContent-Type: {kind}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
        )

    def frame(self, stream: int, data: bytes) -> None:
        self.connection.sendall(struct.pack(">BxxxI", stream, len(data)) + data)

    def receive(self) -> bytes:
        data, self.rest = self.rest, b""
        return data or self.connection.recv(65536)

    def receive_all(self) -> bytes:
        data = b""
        while piece := self.receive():
            data += piece
        return data

    def hang_up(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)


class FakeDaemon:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"unix://{path}"
        self.requests: list[Request] = []
        self.failures: list[BaseException] = []
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._spawn(self._accept)
        self.route(
            "GET /_ping", lambda _request, answer: answer.send(200, b"OK", Api_Version="1.50", OSType="linux")
        )
        self.route(
            "HEAD /_ping", lambda _request, answer: answer.send(200, b"", Api_Version="1.50", OSType="linux")
        )

    def route(self, pattern: str, handler: Handler) -> None:
        """`pattern` is `METHOD /path/regex`; the latest route that matches wins."""
        method, _, path = pattern.partition(" ")
        self._routes.insert(0, (method, re.compile(path), handler))

    def answer(self, pattern: str, document: Any, status: int = 200) -> None:
        self.route(pattern, lambda _request, answer: answer.json(document, status))

    def no_content(self, pattern: str) -> None:
        self.route(
            pattern, lambda _request, answer: answer.connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        )

    def refuse(self, pattern: str, status: int, message: str, **extra: str) -> None:
        self.route(pattern, lambda _request, answer: answer.error(status, message, **extra))

    def seen(self, pattern: str) -> list[Request]:
        return [request for request in self.requests if re.fullmatch(pattern, repr(request))]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(5)
        assert not self.failures, self.failures

    def _spawn(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        rest = b""
        try:
            while True:
                read = _read_request(connection, rest)
                if read is None:
                    break
                request, rest = read
                self.requests.append(request)
                self._handler(request)(request, Exchange(connection, rest))
        except OSError:
            pass
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            self.failures.append(error)
        finally:
            connection.close()

    def _handler(self, request: Request) -> Handler:
        for method, path, handler in self._routes:
            if re.fullmatch(method, request.method) and path.fullmatch(request.path):
                return handler
        return lambda _request, answer: answer.error(404, f"no route for {request!r}")


def _read_request(connection: socket.socket, rest: bytes) -> tuple[Request, bytes] | None:
    while b"\r\n\r\n" not in rest:
        piece = connection.recv(65536)
        if not piece:
            return None
        rest += piece
    head, _, rest = rest.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body, rest = _read_chunked(connection, rest)
    else:
        length = int(headers.get("content-length", 0))
        while len(rest) < length:
            rest += connection.recv(65536)
        body, rest = rest[:length], rest[length:]
    return Request(method, target, headers, body), rest


def _read_chunked(connection: socket.socket, rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        while b"\r\n" not in rest:
            rest += connection.recv(65536)
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        while len(rest) < length + 2:
            rest += connection.recv(65536)
        body, rest = body + rest[:length], rest[length + 2 :]
        if not length:
            return body, rest
