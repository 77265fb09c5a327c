"""One call of an operation: the request's parts, parsed, and the ways to answer it."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

from barque.spi.errors import BarqueError, InvalidArgument
from barque.spi.frontend import ClientStream, Engine
from barque_api_docker.connection import Connection, Disconnected
from barque_api_docker.fields import Fields, parse_json
from barque_api_docker.http import ProtocolError, Request, Response, status_line
from barque_api_docker.limits import Limits
from barque_api_docker.version import API_VERSION

__all__ = ["Call", "Handler", "Stream", "error_response", "exhausted", "json_response", "told"]

_MAX_PARAMETERS = 200
_HEAD_SECONDS = 0.02
_EXHAUSTED = (errno.EMFILE, errno.ENFILE)
_NUMBER = re.compile(r"[+-]?\d{1,19}")
_TIMESTAMP = re.compile(r"(-?\d{1,11})(?:\.(\d{1,9}))?")
_FALSE = frozenset({"", "0", "no", "false", "none"})
_encode = json.JSONEncoder(separators=(",", ":")).encode


def json_response(document: Any, status: int = 200) -> Response:
    """`document` as an answer, with a newline behind as dockerd's."""
    return Response(status, _encode(document).encode() + b"\n")


def told(error: BarqueError) -> str:
    """The message. Where Docker has words for it clients compare them, so the remedy is added only to errors of ours."""
    return error.message if error.status in (400, 404, 409) else str(error)


def exhausted(error: Exception) -> bool:
    """Whether the daemon is out of descriptors: for a moment, and no defect."""
    return isinstance(error, OSError) and error.errno in _EXHAUSTED


def error_response(error: Exception) -> Response:
    """The answer that tells an error."""
    if isinstance(error, BarqueError):
        hint = error.hint if told(error) == error.message else ""
        return json_response({"message": told(error), **({"hint": hint} if hint else {})}, error.status)
    if isinstance(error, ProtocolError):
        return json_response({"message": error.message}, error.status)
    if isinstance(error, OSError) and exhausted(error):
        return json_response({"message": f"the daemon has reached a limit: {error.strerror}; retry"}, 503)
    return json_response({"message": f"{type(error).__name__}: {error}"}, 500)


class Stream:
    """An answer of unknown length: chunked, or ended by the connection's end for HTTP/1.0."""

    __slots__ = ("_chunked", "_connection")

    def __init__(self, connection: Connection, chunked: bool) -> None:
        self._connection = connection
        self._chunked = chunked

    def write(self, data: bytes) -> None:
        """Send `data` at once. Errors: Disconnected."""
        if data:
            self._connection.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def write_json(self, document: Any, end: bytes = b"\n") -> None:
        """Send a JSON line."""
        self.write(_encode(document).encode() + end)

    def close(self) -> None:
        """End the answer. Without it the client sees that it was cut."""
        if self._chunked:
            self._connection.send(b"0\r\n\r\n")


class Call:
    """What a handler gets. `params` are the path's, decoded; `api_version` what the client speaks.
    `last`: no further request can follow on the connection."""

    def __init__(
        self, engine: Engine, connection: Connection, request: Request, common: str, limits: Limits
    ) -> None:
        self.engine = engine
        self.connection = connection
        self.request = request
        self.params: dict[str, str] = {}
        self.api_version = API_VERSION
        self.last = False
        self._common = common
        self._limits = limits
        self._query: dict[str, list[str]] | None = None

    # -- the query

    def query(self, name: str) -> str | None:
        """The first value of a query parameter, or None."""
        if self._query is None:
            self._query = _parse_query(self.request.query)
        values = self._query.get(name)
        return values[0] if values else None

    def query_all(self, name: str) -> tuple[str, ...]:
        """All values of a repeated parameter, in order."""
        self.query(name)
        return tuple((self._query or {}).get(name, ()))

    def query_flag(self, name: str) -> bool:
        """A boolean parameter as Docker reads it: absent, "", 0, no, false and none are False, the rest is True."""
        return (self.query(name) or "").strip().lower() not in _FALSE

    def query_number(self, name: str) -> int | None:
        """An integer parameter, or None when absent. Errors: InvalidArgument."""
        value = self.query(name)
        if not value:
            return None
        if not _NUMBER.fullmatch(value):
            raise InvalidArgument(
                f'strconv.Atoi: parsing "{value}": invalid syntax', hint=f"{name} is a number"
            )
        return int(value)

    def query_time(self, name: str) -> int | None:
        """A parameter `seconds[.nanoseconds]` since the epoch, in ns. Errors: InvalidArgument."""
        value = self.query(name)
        if not value:
            return None
        match = _TIMESTAMP.fullmatch(value)
        if match is None:
            raise InvalidArgument(
                f'strconv.ParseInt: parsing "{value}": invalid syntax',
                hint=f"{name} is in seconds since the epoch",
            )
        return int(match[1]) * 1_000_000_000 + int((match[2] or "").ljust(9, "0"))

    # -- the body

    def body(self) -> Fields:
        """The body as a JSON object; an empty one when there is none. Errors: InvalidArgument, ProtocolError."""
        data = self.request.body.read(self._limits.max_body)
        if not data:
            return Fields({})
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise InvalidArgument(f"unsupported Content-Type header ({kind}): must be 'application/json'")
        document = parse_json(data)
        if document is None:
            return Fields({})
        if not isinstance(document, dict):
            raise InvalidArgument("invalid JSON: the request's body must be an object")
        return Fields(document)

    def upload(self) -> Iterator[bytes]:
        """The body as it comes, of any length. Errors: ProtocolError, Disconnected."""
        self.connection.upload()
        return self.request.body.pieces()

    # -- the answer

    def gone(self) -> bool:
        """True when nobody waits for the answer any more."""
        return self.connection.gone()

    def stream(
        self, content_type: str, headers: tuple[tuple[str, str], ...] = (), *, patient: bool = True
    ) -> Stream:
        """Send the head of a 200 answer of unknown length and return what its body is written to. Not `patient`: a client that reads
        nothing for `Limits.write_timeout` is cut off."""
        chunked = not self.request.http_1_0
        self.last = self.last or not chunked
        extra = "Transfer-Encoding: chunked\r\n" if chunked else "Connection: close\r\n"
        extra += "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.connection.set_write_timeout(0 if patient else None)
        self.connection.answered = True
        self.connection.send(status_line(200, self._common, content_type, extra))
        return Stream(self.connection, chunked)

    def hijack(self, content_type: str) -> ClientStream:
        """The connection as a raw stream, for the engine. Read the body first."""
        connection = self.connection
        head = _switch_head(self.request, content_type)
        self.last = True
        return ClientStream(connection.fileno(), bytes(connection.buffer), _accept(connection, head))


def _accept(connection: Connection, head: bytes) -> Callable[[], None]:
    def accept() -> None:
        connection.set_write_timeout(0)
        connection.answered = connection.switched = True
        try:
            connection.send(head)
            # docker-py reads the head through a buffer and the stream past it: what comes in one piece with the head, it loses.
            connection.await_read(_HEAD_SECONDS)
        except Disconnected:
            return  # the client left: the engine finds the stream at its end, as if it had left a moment later

    return accept


def _switch_head(request: Request, content_type: str) -> bytes:
    if "upgrade" in request.headers:
        return (
            f"HTTP/1.1 101 UPGRADED\r\nContent-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"


def _parse_query(text: str) -> dict[str, list[str]]:
    if not text:
        return {}
    try:
        return parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except ValueError as error:
        raise InvalidArgument(f"malformed query: {error}") from None


Handler = Callable[[Call], Response | None]
