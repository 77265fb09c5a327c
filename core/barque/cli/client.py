"""The Engine API as the commands use it: JSON in, JSON out, errors raised, streams and hijacked connections.

Paths are sent without a version: the daemon answers in its own (newest) one, and no negotiation costs a round trip.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from barque.cli.errors import DaemonError, DaemonUnavailable
from barque.cli.transport import Connection, Response, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Client", "documents", "query_string"]

Query = Mapping[str, object] | Iterable[tuple[str, str]]

# A kept connection older than this is not trusted to be open still.
_IDLE = 1.0


def query_string(query: Query) -> str:
    """`?a=1&b=x`; true is `1`, None, false and empty values are left out of mappings. Pairs are sent as they are."""
    if isinstance(query, Mapping):
        pairs = [
            (k, "1" if v is True else str(v))
            for k, v in query.items()
            if v is not None and v is not False and v != ""
        ]
    else:
        pairs = list(query)
    return "?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs) if pairs else ""


class Client:
    """Requests to one daemon. `dial` opens a connection to it and raises DaemonUnavailable."""

    def __init__(self, dial: Callable[[], socket.socket], host: str) -> None:
        self._dial = dial
        self._host = host
        self._idle: Connection | None = None
        self._idle_since = 0.0
        self._open_ones: set[Connection] = set()

    def get(self, path: str, query: Query = (), headers: Mapping[str, str] | None = None) -> Any:
        """The JSON document at `path`."""
        return json.loads(self._whole("GET", path, query, headers=headers)[1])

    def get_raw(self, path: str, query: Query = ()) -> bytes:
        """The body at `path` as the daemon wrote it."""
        return self._whole("GET", path, query)[1]

    def post(self, path: str, query: Query = (), body: object = None) -> Any:
        """POST; the JSON answer, or None when there is none."""
        raw = self._whole("POST", path, query, body)[1]
        return json.loads(raw) if raw.strip() else None

    def put(self, path: str, query: Query = (), body: object = None) -> Any:
        """PUT; the JSON answer, or None when there is none."""
        raw = self._whole("PUT", path, query, body)[1]
        return json.loads(raw) if raw.strip() else None

    def delete(self, path: str, query: Query = ()) -> Any:
        """DELETE; the JSON answer, or None when there is none."""
        raw = self._whole("DELETE", path, query)[1]
        return json.loads(raw) if raw.strip() else None

    def headers(self, path: str) -> Mapping[str, str]:
        """The answer's headers, names in lower case (`_ping`)."""
        return self._whole("GET", path, ())[0].headers

    def stream(
        self, method: str, path: str, query: Query = (), headers: Mapping[str, str] | None = None
    ) -> Response:
        """A response whose head has come and whose body is read as it arrives, on a connection of its own."""
        return self._checked(self._open().request(method, path + query_string(query), headers or {}, None))

    def upload(
        self,
        method: str,
        path: str,
        query: Query,
        pieces: Iterable[bytes],
        content_type: str = "application/x-tar",
    ) -> Response:
        """Send a body of any length, on a connection of its own; the answer's body is read as it arrives."""
        headers = {"Content-Type": content_type}
        return self._checked(self._open().upload(method, path + query_string(query), headers, pieces))

    def hijack(self, path: str, query: Query = (), body: object = None) -> tuple[socket.socket, bytes]:
        """Switch protocols: the raw socket, and what had come on it already."""
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        payload = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            payload = json.dumps(body).encode()
        response = self._open().request("POST", path + query_string(query), headers, payload)
        self._checked(response)
        return response.take_over()

    def close(self) -> None:
        """Close every connection. Idempotent."""
        self._idle = None
        for connection in self._open_ones:
            connection.close()
        self._open_ones.clear()

    def _whole(
        self,
        method: str,
        path: str,
        query: Query,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Response, bytes]:
        headers = dict(headers or {}) | ({} if body is None else {"Content-Type": "application/json"})
        payload = None if body is None else json.dumps(body).encode("utf-8", "surrogateescape")
        connection = self._kept() or self._open()
        response = self._checked(connection.request(method, path + query_string(query), headers, payload))
        raw = response.read()
        if response.reusable:
            self._idle, self._idle_since = connection, time.monotonic()
        else:
            self._drop(connection)
        return response, raw

    def _open(self) -> Connection:
        connection = Connection(self._dial(), self._host)
        self._open_ones.add(connection)
        return connection

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self._open_ones.discard(connection)

    def _kept(self) -> Connection | None:
        connection, self._idle = self._idle, None
        if connection is not None and time.monotonic() - self._idle_since > _IDLE:
            self._drop(connection)
            return None
        return connection

    def _checked(self, response: Response) -> Response:
        if response.status < 400:
            return response
        raise _error(response)


def _error(response: Response) -> DaemonError:
    raw = response.read()
    try:
        document = json.loads(raw)
        reason = str(document["message"])
        hint = str(document.get("hint") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        reason, hint = raw.decode("utf-8", "replace").strip() or f"HTTP status {response.status}", ""
    return DaemonError(response.status, reason, hint=hint)


def documents(response: Response) -> Iterator[Any]:
    """The JSON values of a streamed body, one a line (pull, events). Raises DaemonUnavailable for anything else."""
    for line in response.lines():
        try:
            yield json.loads(line)
        except ValueError:
            raise DaemonUnavailable("the daemon's answer is malformed") from None
