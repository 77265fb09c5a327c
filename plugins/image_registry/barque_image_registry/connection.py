"""One HTTP/1.1 connection over a `Wire`: requests, bodies that are streamed, and what its failures mean."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from barque_image_registry.origin import Origin, Url
from barque_image_registry.wire import Check, Wire

__all__ = [
    "AUTHORITY",
    "Body",
    "BrokenTransfer",
    "CertificateRefused",
    "Connection",
    "Exchange",
    "Unreachable",
    "broken",
    "send",
    "tunnel",
]

AUTHORITY = "set `ca_file` of the registry image source to the authority's certificate"
_CERTIFICATE = "the registry wants a client certificate: set `client_cert` and `client_key` in its table"


class BrokenTransfer(Exception):
    """The network, or the peer, failed in a way that another try may mend."""


class Unreachable(BrokenTransfer):
    """The host has no address, or nobody listens there."""


class CertificateRefused(Exception):
    """TLS was not trusted, by us or by the peer. Never worth a second try, never a reason to go on without TLS. `remedy` for the user."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Body:
    """A body that is not in memory: its length, and how to get its pieces (from the beginning, each time it is called)."""

    length: int
    pieces: Callable[[], Iterable[bytes | memoryview]]


class Connection(http.client.HTTPConnection):
    """A connection over a `Wire`; made by `Transport`, never by http.client itself."""

    auto_open = 0

    def __init__(self, origin: Origin, wire: Wire, absolute: bool) -> None:
        super().__init__(origin.host, origin.port)
        # http.client drops port 80 from the Host header for its class's default port; over TLS that is 443.
        self.default_port = 443 if origin.scheme == "https" else 80
        self.sock: Wire | None = wire
        self.wire = wire
        self.absolute = absolute
        self.idle_since = 0.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request."""

    method: str
    url: Url
    headers: Mapping[str, str]
    body: bytes | Body | None
    check: Check


def send(
    connection: Connection, asked: Exchange, target: str, headers: dict[str, str]
) -> http.client.HTTPResponse:
    """Send the request and read the head of its answer. OSError, HTTPException, or what the body's pieces raise."""
    body = asked.body
    if not isinstance(body, Body):
        connection.request(asked.method, target, body, headers)
        return connection.getresponse()
    try:
        connection.request(
            asked.method, target, body.pieces(), {**headers, "Content-Length": str(body.length)}
        )
    except (BrokenPipeError, ConnectionResetError) as error:
        # A server that refuses a body answers and hangs up without reading it: the answer says why.
        return _early_answer(connection, error)
    return connection.getresponse()


def _early_answer(connection: Connection, error: OSError) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(connection.wire)  # type: ignore[arg-type]
    try:
        response.begin()
    except (OSError, http.client.HTTPException):
        response.close()
        raise error from None
    connection.close()
    return response


def tunnel(wire: Wire, origin: Origin) -> None:
    """CONNECT through a proxy (RFC 9110, 9.3.6)."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    wire.sendall(
        f"CONNECT {host}:{origin.port} HTTP/1.1\r\nHost: {host}:{origin.port}\r\n\r\n".encode("ascii")
    )
    response = http.client.HTTPResponse(wire, method="CONNECT")  # type: ignore[arg-type]
    try:
        response.begin()
        if response.status != 200:
            raise OSError(f"the proxy answered {response.status} to CONNECT")
    except http.client.HTTPException as error:
        raise OSError(f"the proxy did not answer CONNECT: {error}") from error
    finally:
        response.close()


def broken(url: Url, error: Exception) -> BrokenTransfer | CertificateRefused:
    """What a failure of the connection to `url` means."""
    if isinstance(error, ssl.SSLError) and "ALERT" in str(error.reason) and "CERT" in str(error.reason):
        return CertificateRefused(f"{url.origin.host}: tls: {error.reason}", _CERTIFICATE)
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    absent = isinstance(error, ConnectionRefusedError) or (
        isinstance(error, socket.gaierror) and error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
    )
    return (Unreachable if absent else BrokenTransfer)(f"{url.origin.host}: {text}")
