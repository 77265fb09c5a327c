"""HTTP/1.1 messages: a request's head parsed by llhttp, its body read by us, a response as bytes.

Only the head goes to the parser. The body is framed here, because the caller must know to the byte where a request ends:
what follows it on the connection belongs to a hijacked stream. One parser a message, so nothing is framed twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import httptools

from barque_api_docker.body import MAX_HEAD, BodyReader, ProtocolError, Source

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

MAX_REQUEST_LINE = 16 << 10
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


@dataclass(slots=True)
class Request:
    """One request. `target` is as sent, `path` is decoded, `query` is not; header names are lower case, repeated headers joined by a comma."""

    method: str
    target: str
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
    target = parsed.target.decode("latin-1")
    path, query = _split_target(target)
    method = parsed.parser.get_method().decode("ascii")
    body = _body(parsed.headers, version, source)
    return Request(method, target, path, query, parsed.headers, parsed.keep_alive, version == "1.0", body)


def _split_target(text: str) -> tuple[str, str]:
    if not text.startswith("/"):
        try:
            parts = urlsplit(text)
        except ValueError:  # "[" without "]"
            raise ProtocolError(400, "malformed request target") from None
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
