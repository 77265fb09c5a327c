"""HTTP/1.1 messages: a request's head parsed by llhttp, its body read by us, a response as bytes.

Only the head goes to the parser. The body is framed here, because the caller must know to the byte where a request ends:
what follows it on the connection belongs to a hijacked stream. One parser a message, so nothing is framed twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import httptools

__all__ = [
    "MAX_HEAD",
    "MAX_REQUEST_LINE",
    "BodyReader",
    "ProtocolError",
    "Request",
    "Response",
    "Source",
    "parse_head",
    "status_line",
]

MAX_HEAD = 64 << 10
MAX_REQUEST_LINE = 16 << 10
_MAX_CHUNK_LINE = 1 << 10
# Not from http.HTTPStatus and email.utils.formatdate: importing those two takes longer than all the rest of this plugin.
_REASONS = {
    200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 409: "Conflict", 412: "Precondition Failed", 413: "Content Too Large",
    414: "URI Too Long", 417: "Expectation Failed", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable",
    505: "HTTP Version Not Supported", 507: "Insufficient Storage",
}  # fmt: skip
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class ProtocolError(Exception):
    """The peer does not speak HTTP as it must. `status` is the answer; the connection ends with it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Source:
    """Where a body's bytes come from: the connection. `buffer` holds what was received and not used yet."""

    buffer: bytearray

    def fill(self) -> bool:
        """Receive more into `buffer`; False at the end of the stream."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        raise NotImplementedError


@dataclass(slots=True)
class Request:
    """One request. `path` is decoded, `query` is not; header names are lower case, repeated headers joined by a comma."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    keep_alive: bool
    http_1_0: bool
    body: BodyReader = field(repr=False)


@dataclass(slots=True)
class Response:
    """A complete answer."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class _Head:
    """Receives what llhttp finds."""

    __slots__ = ("complete", "headers", "keep_alive", "parser", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: dict[str, str] = {}
        self.complete = False
        self.keep_alive = False
        self.parser: Any = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").strip()
        if key in self.headers:
            if key in ("host", "content-length", "transfer-encoding"):
                raise ProtocolError(400, f"repeated {key} header")
            text = f"{self.headers[key]}, {text}"
        self.headers[key] = text

    def on_headers_complete(self) -> None:
        self.complete = True
        self.keep_alive = self.parser.should_keep_alive()


def parse_head(head: bytes, source: Source) -> Request:
    """The request whose head is exactly `head`, up to and with the empty line. Errors: ProtocolError."""
    parsed = _Head()
    try:
        parsed.parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # whether to switch protocols is decided by the operation, not by the parser
    except httptools.HttpParserError as error:
        cause = error.__context__
        if isinstance(cause, ProtocolError):
            raise cause from None
        raise ProtocolError(400, f"malformed HTTP request: {error}") from None
    if not parsed.complete:
        raise ProtocolError(400, "malformed HTTP request: incomplete head")
    version = parsed.parser.get_http_version()
    if version not in ("1.0", "1.1"):
        raise ProtocolError(505, f"HTTP version {version} is not supported")
    path, query = _split_target(parsed.target)
    method = parsed.parser.get_method().decode("ascii")
    body = _body(parsed.headers, version, source)
    return Request(method, path, query, parsed.headers, parsed.keep_alive, version == "1.0", body)


def _split_target(target: bytes) -> tuple[str, str]:
    text = target.decode("latin-1")
    if not text.startswith("/"):
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https"):
            raise ProtocolError(400, "malformed request target")
        text = f"{parts.path or '/'}?{parts.query}"
    path, _, query = text.partition("?")
    if "%" in path:
        try:
            path = unquote_to_bytes(path).decode("utf-8")
        except UnicodeDecodeError:
            raise ProtocolError(400, "the request's path is not UTF-8") from None
    if not path.isprintable():
        raise ProtocolError(400, "control characters in the request's path")
    return path, query


def _body(headers: dict[str, str], version: str, source: Source) -> BodyReader:
    encoding = headers.get("transfer-encoding")
    expect = headers.get("expect", "").lower()
    if expect not in ("", "100-continue"):
        raise ProtocolError(417, f"unknown expectation {expect}")
    if encoding is None:
        length = int(headers.get("content-length") or 0)
        return BodyReader(source, length, expect != "" and length > 0)
    # A length beside an encoding, or an encoding we would frame in another way than a proxy before us, is smuggling.
    if "content-length" in headers:
        raise ProtocolError(400, "both Content-Length and Transfer-Encoding")
    if encoding.lower() != "chunked" or version == "1.0":
        raise ProtocolError(400, f"unsupported Transfer-Encoding {encoding}")
    return BodyReader(source, None, expect != "")


class BodyReader:
    """A request's body, read on demand. `length` None: chunked."""

    __slots__ = ("_chunks", "_length", "_source", "_want_continue", "done")

    def __init__(self, source: Source, length: int | None, want_continue: bool) -> None:
        self._source = source
        self._length = length
        self._want_continue = want_continue
        self._chunks = self._read_whole()
        self.done = length == 0

    @property
    def empty(self) -> bool:
        """True when the request says that it has no body."""
        return self._length == 0

    @property
    def withheld(self) -> bool:
        """True while the client waits for `100 Continue`: whether a body follows is not known."""
        return self._want_continue

    def read(self, limit: int) -> bytes:
        """All of it. Errors: ProtocolError 413 when it is longer than `limit` bytes, 400 when it is cut or malformed."""
        if self.done:
            return b""
        if self._length is not None and self._length > limit:
            raise ProtocolError(413, f"the request's body is larger than {limit} bytes")
        data = bytearray()
        for piece in self.pieces():
            data += piece
            if len(data) > limit:
                raise ProtocolError(413, f"the request's body is larger than {limit} bytes")
        return bytes(data)

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes, of any length; after a reader that stopped half-way, the rest. Errors: ProtocolError."""
        if self._want_continue:
            self._want_continue = False
            self._source.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        # Not `yield from`: with a reader that stops it would end `_chunks` too, and the rest of the body, which may be anybody's
        # bytes, would be taken for the next request.
        for piece in self._chunks:  # noqa: UP028
            yield piece
        if not self.done:
            raise ProtocolError(400, "the request's body is malformed")  # somebody met the error before

    def _read_whole(self) -> Iterator[bytes]:
        yield from self._read_chunked() if self._length is None else self._read_sized(self._length)
        self.done = True

    def _read_sized(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self._take(left)
            left -= len(piece)
            yield piece

    def _read_chunked(self) -> Iterator[bytes]:
        while size := self._chunk_size():
            yield from self._read_sized(size)
            if self._line() != b"":
                raise ProtocolError(400, "malformed chunk: no line end after its data")
        trailer = 0
        while line := self._line():
            trailer += len(line)
            if trailer > MAX_HEAD:
                raise ProtocolError(431, "the request's trailer is too large")

    def _chunk_size(self) -> int:
        digits = self._line().partition(b";")[0].rstrip(b" \t")
        if not digits or len(digits) > 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise ProtocolError(400, "malformed chunk size")
        return int(digits, 16)

    def _line(self) -> bytes:
        buffer = self._source.buffer
        while (end := buffer.find(b"\n")) < 0:
            if len(buffer) > _MAX_CHUNK_LINE:
                raise ProtocolError(400, "malformed chunk: line too long")
            self._fill()
        line = bytes(buffer[: end + 1])
        del buffer[: end + 1]
        if not line.endswith(b"\r\n") or len(line) > _MAX_CHUNK_LINE or b"\r" in line[:-2]:
            raise ProtocolError(400, "malformed chunk: bad line end")
        return line[:-2]

    def _take(self, most: int) -> bytes:
        buffer = self._source.buffer
        if not buffer:
            self._fill()
        with memoryview(buffer) as view:  # one copy: a slice of the buffer itself would be another
            piece = bytes(view[:most])
        del buffer[:most]
        return piece

    def _fill(self) -> None:
        if not self._source.fill():
            raise ProtocolError(400, "the connection ended within the request's body")


_dates: tuple[int, str] = (0, "")


def _date() -> str:
    """Now as an HTTP date (RFC 9110 5.6.7), in English whatever the locale; made once a second."""
    global _dates
    now = int(time.time())
    if _dates[0] != now:
        t = time.gmtime(now)
        day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
        clock = f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
        _dates = (now, f"{day}, {t.tm_mday:02} {month} {t.tm_year} {clock} GMT")
    return _dates[1]


def status_line(status: int, common: str, content_type: str | None, extra: str) -> bytes:
    """A response's head with the server's `common` headers and the message's `extra` lines, to the empty line."""
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    reason = _REASONS.get(status, "Unknown")
    return f"HTTP/1.1 {status} {reason}\r\n{common}Date: {_date()}\r\n{kind}{extra}\r\n".encode("latin-1")
