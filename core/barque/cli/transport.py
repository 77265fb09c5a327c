"""HTTP/1.1 over a stream socket: as much of RFC 9112 as a client of the Engine API needs.

`http.client` would do, but it imports `email` and `ssl`, which costs more (28 ms) than a whole `barque version`.
Heads and bodies are bounded; a connection can be taken over after a protocol switch (attach, exec).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping

from barque.cli.errors import CliError, DaemonUnavailable

__all__ = ["Connection", "Response", "quote", "segment"]

_HEAD_LIMIT = 64 * 1024
_LINE_LIMIT = 16 * 1024 * 1024
_BODY_LIMIT = 256 * 1024 * 1024
_PIECE = 256 * 1024
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quote(value: str) -> str:
    """Percent-encode `value` for a path segment or a query (RFC 3986); UTF-8, undecodable argv bytes as they were."""
    raw = value.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in raw)


def segment(name: str, keep: str = "") -> str:
    """A name as part of a path; characters in `keep` stay as they are (an image's `/`). CliError when it is empty."""
    if not name.strip():
        raise CliError("invalid name or ID: value is empty")
    return "".join(letter if letter in keep else quote(letter) for letter in name) if keep else quote(name)


class Connection:
    """One connection to the daemon; requests follow one another on it."""

    __slots__ = ("_host", "_rest", "sock")

    def __init__(self, sock: socket.socket, host: str) -> None:
        self.sock = sock
        self._host = host
        self._rest = bytearray()

    def request(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        """Send a request and read the answer's head. The body is the Response's to read, before the next request.

        Raises DaemonUnavailable when the daemon goes away or does not speak HTTP.
        """
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None or method in ("POST", "PUT"):
            lines.append(f"Content-Length: {len(body or b'')}")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        try:
            self.sock.sendall(head + body if body else head)
            return self._answer(method)
        except OSError as error:
            raise DaemonUnavailable(f"error during connect: {error.strerror or error}") from error

    def upload(
        self, method: str, target: str, headers: Mapping[str, str], pieces: Iterable[bytes]
    ) -> Response:
        """As `request`, with a body of unknown length, sent as `pieces` gives it. A daemon that answers before it has read
        all is listened to; what `pieces` raises passes."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}", "Transfer-Encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        broken: OSError | None = None
        for data in _framed("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n", pieces):
            try:
                self.sock.sendall(data)
            except OSError as error:  # it wants no more of it: why, the answer tells
                broken = error
                break
        try:
            return self._answer(method)
        except (OSError, DaemonUnavailable) as error:
            reason = broken or error
            raise DaemonUnavailable(f"error during connect: {reason}") from error

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self.sock.close()

    def _answer(self, method: str) -> Response:
        while True:
            status, headers = _parse_head(self._head())
            if status >= 200 or status == 101:
                return Response(self, status, headers, bodyless=method == "HEAD" or status in (101, 204, 304))

    def _head(self) -> bytes:
        end = self._rest.find(b"\r\n\r\n")
        while end < 0:
            if len(self._rest) > _HEAD_LIMIT:
                raise DaemonUnavailable("the daemon's answer has an oversized head")
            start = max(0, len(self._rest) - 3)
            if not self.fill():
                raise DaemonUnavailable("the daemon closed the connection without an answer")
            end = self._rest.find(b"\r\n\r\n", start)
        head = bytes(self._rest[:end])
        del self._rest[: end + 4]
        return head

    def fill(self) -> bool:
        """Read more into the buffer; False at the end of the stream."""
        piece = self.sock.recv(_PIECE)
        self._rest += piece
        return bool(piece)

    def take(self, limit: int) -> bytes:
        """Up to `limit` bytes, from the buffer or else the socket; empty at the end of the stream."""
        if not self._rest:
            return self.sock.recv(min(limit, _PIECE))
        if len(self._rest) <= limit:
            piece = bytes(self._rest)
            self._rest.clear()
            return piece
        piece = bytes(self._rest[:limit])
        del self._rest[:limit]
        return piece

    @property
    def buffered(self) -> bool:
        """Whether bytes were read that nobody has used."""
        return bool(self._rest)

    def drain(self) -> bytes:
        """What was read from the socket and not yet used."""
        piece = bytes(self._rest)
        self._rest.clear()
        return piece

    def line(self) -> bytes:
        """The next line without its CRLF (a chunk's size, a trailer)."""
        while (end := self._rest.find(b"\r\n")) < 0:
            if len(self._rest) > _HEAD_LIMIT:
                raise DaemonUnavailable("the daemon's answer is malformed")
            if not self.fill():
                raise DaemonUnavailable("unexpected EOF")
        line = bytes(self._rest[:end])
        del self._rest[: end + 2]
        return line


def _framed(head: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The head, and the pieces as chunks (RFC 9112, 7.1)."""
    yield head
    for piece in pieces:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit()):
        raise DaemonUnavailable("what listens at the daemon's address does not speak HTTP")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(code), headers


class Response:
    """An answer: status, headers (lower-case names), and the body as it arrives."""

    __slots__ = ("_chunked", "_connection", "_left", "done", "headers", "status")

    def __init__(
        self, connection: Connection, status: int, headers: dict[str, str], *, bodyless: bool
    ) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length", "")
        # None: the body lasts until the daemon closes.
        self._left: int | None = int(length) if length.isdigit() else None
        if bodyless or self._chunked:
            self._left = 0
        self.done = bodyless or (not self._chunked and self._left == 0)

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request (only once the body has been read)."""
        return self.done and self._left is not None and self.headers.get("connection", "").lower() != "close"

    def piece(self) -> bytes:
        """The next bytes of the body as soon as there are any; empty at its end.

        Raises DaemonUnavailable when the connection ends before the body does.
        """
        if self.done:
            return b""
        try:
            return self._piece()
        except OSError as error:
            raise DaemonUnavailable(f"error during connect: {error.strerror or error}") from error

    def _piece(self) -> bytes:
        if self._left is None:
            piece = self._connection.take(_PIECE)
            self.done = not piece
            return piece
        if self._chunked and self._left == 0 and not self._next_chunk():
            return b""
        piece = self._connection.take(self._left)
        if not piece:
            raise DaemonUnavailable("unexpected EOF")
        self._left -= len(piece)
        if self._left == 0:
            if self._chunked:
                self._connection.line()
            else:
                self.done = True
        return piece

    def _next_chunk(self) -> bool:
        size = self._connection.line().partition(b";")[0].strip()
        try:
            self._left = int(size, 16)
        except ValueError:
            raise DaemonUnavailable("the daemon's answer is malformed") from None
        if self._left < 0:
            raise DaemonUnavailable("the daemon's answer is malformed")
        if self._left == 0:
            while self._connection.line():
                pass
            self.done = True
            return False
        return True

    def read(self) -> bytes:
        """The whole body."""
        pieces = []
        size = 0
        while piece := self.piece():
            size += len(piece)
            if size > _BODY_LIMIT:
                raise DaemonUnavailable("the daemon's answer is too large")
            pieces.append(piece)
        return b"".join(pieces)

    def lines(self) -> Iterator[bytes]:
        """The body's lines as they arrive, without their ends, empty ones left out (streams of JSON values)."""
        rest = bytearray()
        while piece := self.piece():
            rest += piece
            *whole, last = rest.split(b"\n")
            if len(last) > _LINE_LIMIT:
                raise DaemonUnavailable("the daemon's answer has an oversized line")
            for line in whole:
                if line := line.strip():
                    yield bytes(line)
            rest = bytearray(last)
        if rest.strip():
            yield bytes(rest.strip())

    def waitable(self) -> socket.socket | None:
        """The socket to poll for more of the body; None when some has been read already."""
        return None if self.done or self._connection.buffered else self._connection.sock

    def close(self) -> None:
        """Drop the connection, whatever of the body is left. Idempotent."""
        self._connection.close()

    def take_over(self) -> tuple[socket.socket, bytes]:
        """The socket itself after a protocol switch, and the bytes already read from it."""
        return self._connection.sock, self._connection.drain()
