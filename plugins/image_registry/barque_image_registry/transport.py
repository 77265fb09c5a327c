"""HTTP/1.1 exchanges over pooled connections; no redirects, no retries, no credentials of its own.

http.client of the standard library does the protocol, `wire` the waiting. Idle connections are kept by origin and shared by
all threads rather than one a thread: pulls run on short-lived threads, whose connections would die with them.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from urllib.request import getproxies_environment, proxy_bypass

from barque_image_registry.dial import dial
from barque_image_registry.origin import Origin, PlainHttp, Url, is_loopback, parse_url
from barque_image_registry.wire import Check, NotTls, Stalled, Wire

__all__ = ["BrokenTransfer", "CertificateRefused", "Reply", "Transport", "Unreachable"]

_USER_AGENT = "barque-image-registry"
_IDLE_KEPT_SECONDS = 30.0
_IDLE_KEPT = 8


class BrokenTransfer(Exception):
    """The network, or the peer, failed in a way that another try may mend."""


class Unreachable(BrokenTransfer):
    """The host has no address, or nobody listens there."""


class CertificateRefused(Exception):
    """TLS was not trusted. Never worth a second try, never a reason to go on without TLS."""


class Reply:
    """An answer whose body is still to be read. Use as a context manager: leaving it keeps or closes the connection."""

    def __init__(
        self, transport: Transport, url: Url, connection: _Connection, response: http.client.HTTPResponse
    ) -> None:
        self._transport, self._connection, self._response = transport, connection, response
        self.url = url
        self.status = response.status
        self.headers: Message = response.headers
        self._broken = False

    @property
    def length(self) -> int | None:
        """Bytes of the body that are still to come, when the peer said so."""
        return self._response.length

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` as far as the body goes; 0 at its end. BrokenTransfer when it ends before its declared length."""
        try:
            count = self._response.readinto(buffer)
        except (OSError, http.client.HTTPException) as error:
            self._broken = True
            raise _broken(self.url, error) from error
        if count == 0 and self._response.length:
            self._broken = True
            raise BrokenTransfer(f"{self.url.origin.host}: unexpected EOF")
        return count

    def read_at_most(self, limit: int) -> bytes | None:
        """The whole body, or None when it is longer than `limit`."""
        if self.length is not None and self.length > limit:
            return None
        buffer, parts, total = memoryview(bytearray(65536)), [], 0
        while count := self.readinto(buffer):
            total += count
            if total > limit:
                return None
            parts.append(bytes(buffer[:count]))
        return b"".join(parts)

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *_: object) -> None:
        reusable = self._response.isclosed() and not self._broken and self._connection.sock is not None
        self._response.close()
        self._transport.give_back(self.url.origin, self._connection, reusable)


class _Connection(http.client.HTTPConnection):
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
class _Exchange:
    method: str
    url: Url
    headers: Mapping[str, str]
    body: bytes | None
    check: Check


class Transport:
    """Connections to any number of registries. Thread-safe. `close` when done."""

    def __init__(self, plain: PlainHttp, ca_file: str, idle_timeout: float) -> None:
        self.plain = plain
        self._ca_file = ca_file
        self._idle_timeout = idle_timeout
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[_Connection]] = {}
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._proxies = getproxies_environment()

    def exchange(
        self, method: str, url: Url, headers: Mapping[str, str], check: Check, body: bytes | None = None
    ) -> Reply:
        """One request. BrokenTransfer, CertificateRefused, or what `check` raises."""
        asked = _Exchange(method, url, headers, body, check)
        kept = self._take(url.origin)
        if kept is not None:
            try:
                return self._ask(kept, asked)
            except BrokenTransfer as error:
                if isinstance(error.__cause__, Stalled):
                    raise
                # The peer closed it while it was idle: that says nothing about a new one.
        return self._ask(self._open(url.origin, check), asked)

    def scheme_of(self, host: str, port: int, check: Check) -> str:
        """`https`, or `http` where that is allowed and the peer has no TLS."""
        if not self.plain.allows(host, port):
            return "https"
        origin = Origin("https", host, port)
        try:
            connection = self._open(origin, check)
        except BrokenTransfer as error:
            if isinstance(error.__cause__, NotTls):
                return "http"
            raise
        self.give_back(origin, connection, True)
        return "https"

    def give_back(self, origin: Origin, connection: _Connection, reusable: bool) -> None:
        """Take a connection after its exchange: keep it, or close it."""
        with self._lock:
            kept = self._idle.setdefault(origin, [])
            if reusable and len(kept) < _IDLE_KEPT:
                connection.idle_since = time.monotonic()
                kept.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close all idle connections. Idempotent."""
        with self._lock:
            connections = [connection for kept in self._idle.values() for connection in kept]
            self._idle.clear()
        for connection in connections:
            connection.close()

    def _take(self, origin: Origin) -> _Connection | None:
        while True:
            with self._lock:
                kept = self._idle.get(origin)
                connection = kept.pop() if kept else None
            if connection is None:
                return None
            if (
                time.monotonic() - connection.idle_since < _IDLE_KEPT_SECONDS
                and not connection.wire.is_spent()
            ):
                return connection
            connection.close()

    def _ask(self, connection: _Connection, asked: _Exchange) -> Reply:
        connection.wire.begin(asked.check)
        target = f"{asked.url.origin}{asked.url.target}" if connection.absolute else asked.url.target
        headers = {"User-Agent": _USER_AGENT, **asked.headers}
        try:
            connection.request(asked.method, target, asked.body, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _broken(asked.url, error) from error
        except BaseException:
            connection.close()
            raise
        return Reply(self, asked.url, connection, response)

    def _open(self, origin: Origin, check: Check) -> _Connection:
        proxy = self._proxy(origin)
        try:
            wire = dial(
                *((proxy.host, proxy.port) if proxy else (origin.host, origin.port)),
                self._idle_timeout,
                check,
            )
            try:
                if origin.scheme == "https":
                    if proxy:
                        _tunnel(wire, origin)
                    listed = self.plain.is_listed(origin.host, origin.port)
                    plain_possible = self.plain.allows(origin.host, origin.port)
                    wire.start_tls(self._context(not listed), origin.host, plain_possible)
            except BaseException:
                wire.close()
                raise
        except ssl.SSLCertVerificationError as error:
            raise CertificateRefused(f"{origin.host}: tls: {error.verify_message}") from error
        except OSError as error:
            raise _broken(Url(origin, "/"), error) from error
        return _Connection(origin, wire, absolute=proxy is not None and origin.scheme == "http")

    def _context(self, verify: bool) -> ssl.SSLContext:
        with self._lock:
            if verify not in self._contexts:
                context = ssl.create_default_context()
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                context.set_alpn_protocols(["http/1.1"])
                if self._ca_file:
                    context.load_verify_locations(self._ca_file)
                if not verify:
                    context.check_hostname = False
                    context.verify_mode = ssl.CERT_NONE
                self._contexts[verify] = context
            return self._contexts[verify]

    def _proxy(self, origin: Origin) -> Origin | None:
        address = self._proxies.get(origin.scheme)
        if not address or is_loopback(origin.host) or proxy_bypass(origin.host):
            return None
        return parse_url(address if "://" in address else f"http://{address}").origin


def _tunnel(wire: Wire, origin: Origin) -> None:
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


def _broken(url: Url, error: Exception) -> BrokenTransfer:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    absent = isinstance(error, ConnectionRefusedError) or (
        isinstance(error, socket.gaierror) and error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
    )
    return (Unreachable if absent else BrokenTransfer)(f"{url.origin.host}: {text}")
