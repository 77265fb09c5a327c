"""HTTP/1.1 exchanges over pooled connections; no redirects, no retries, no credentials of its own.

http.client of the standard library does the protocol, `wire` the waiting. Idle connections are kept by origin and shared by
all threads rather than one a thread: pulls run on short-lived threads, whose connections would die with them.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Mapping
from email.message import Message
from urllib.request import getproxies_environment, proxy_bypass

from barque_image_registry.config import RegistryConfig
from barque_image_registry.connection import (
    AUTHORITY,
    Body,
    BrokenTransfer,
    CertificateRefused,
    Connection,
    Exchange,
    broken,
    send,
    tunnel,
)
from barque_image_registry.dial import dial
from barque_image_registry.origin import Origin, Url, is_loopback, parse_url
from barque_image_registry.tls import TlsContexts
from barque_image_registry.wire import Check, NotTls, Stalled

__all__ = ["Reply", "Transport"]

_USER_AGENT = "barque-image-registry"
_IDLE_KEPT_SECONDS = 30.0
_IDLE_KEPT = 8
_SLICE = 0.2


class Reply:
    """An answer whose body is still to be read. Use as a context manager: leaving it keeps or closes the connection."""

    def __init__(
        self, transport: Transport, url: Url, connection: Connection, response: http.client.HTTPResponse
    ) -> None:
        self._transport, self._connection, self._response = transport, connection, response
        self.url = url
        self.status = response.status
        self.headers: Message = response.headers
        self._broken = False
        self._left = False

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
            raise broken(self.url, error) from error
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

    def drain(self, limit: int) -> None:
        """Read what little is left of the body, so that the connection can be used again."""
        if not self._response.isclosed() and (self.length or 0) <= limit:
            try:
                self.read_at_most(limit)
            except BrokenTransfer:
                self._broken = True

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *_: object) -> None:
        if self._left:
            return
        self._left = True
        reusable = self._response.isclosed() and not self._broken and self._connection.sock is not None
        self._response.close()
        self._transport.give_back(self.url.origin, self._connection, reusable)


class Transport:
    """Connections to any number of registries. Thread-safe. `close` when done."""

    def __init__(self, config: RegistryConfig) -> None:
        self.plain = config.plain_http()
        self._idle_timeout = config.idle_timeout
        self._tls = TlsContexts(config, self.plain)
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[Connection]] = {}
        self._places = threading.Semaphore(config.max_concurrent) if config.max_concurrent else None
        self._proxies = getproxies_environment()

    def exchange(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        check: Check,
        body: bytes | Body | None = None,
    ) -> Reply:
        """One request. BrokenTransfer, CertificateRefused, or what `check` or the body's pieces raise."""
        asked = Exchange(method, url, headers, body, check)
        self._enter(check)
        try:
            return self._exchange(asked)
        except BaseException:
            self._leave()
            raise

    def _exchange(self, asked: Exchange) -> Reply:
        kept = self._take(asked.url.origin)
        if kept is not None:
            try:
                return self._ask(kept, asked)
            except BrokenTransfer as error:
                # What became of the part of a body that was sent, only its owner can find out.
                if isinstance(error.__cause__, Stalled) or isinstance(asked.body, Body):
                    raise
                # The peer closed it while it was idle: that says nothing about a new one.
        return self._ask(self._open(asked.url.origin, asked.check), asked)

    def _enter(self, check: Check) -> None:
        """Wait until one more connection may be used."""
        while self._places is not None and not self._places.acquire(timeout=_SLICE):
            check()

    def _leave(self) -> None:
        if self._places is not None:
            self._places.release()

    def scheme_of(self, host: str, port: int, check: Check) -> str:
        """`https`, or `http` where that is allowed and the peer has no TLS."""
        if not self.plain.allows(host, port):
            return "https"
        if self.plain.is_plain(host, port):
            return "http"
        origin = Origin("https", host, port)
        try:
            connection = self._open(origin, check)
        except BrokenTransfer as error:
            if isinstance(error.__cause__, NotTls):
                return "http"
            raise
        self._keep(origin, connection, True)
        return "https"

    def give_back(self, origin: Origin, connection: Connection, reusable: bool) -> None:
        """Take a connection after its exchange: keep it, or close it."""
        self._leave()
        self._keep(origin, connection, reusable)

    def _keep(self, origin: Origin, connection: Connection, reusable: bool) -> None:
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

    def _take(self, origin: Origin) -> Connection | None:
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

    def _ask(self, connection: Connection, asked: Exchange) -> Reply:
        connection.wire.begin(asked.check)
        target = f"{asked.url.origin}{asked.url.target}" if connection.absolute else asked.url.target
        headers = {"User-Agent": _USER_AGENT, **asked.headers}
        try:
            response = send(connection, asked, target, headers)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise broken(asked.url, error) from error
        except BaseException:
            connection.close()
            raise
        return Reply(self, asked.url, connection, response)

    def _open(self, origin: Origin, check: Check) -> Connection:
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
                        tunnel(wire, origin)
                    plain_possible = self.plain.allows(origin.host, origin.port)
                    wire.start_tls(self._tls.of(origin), origin.host, plain_possible)
            except BaseException:
                wire.close()
                raise
        except ssl.SSLCertVerificationError as error:
            raise CertificateRefused(f"{origin.host}: tls: {error.verify_message}", AUTHORITY) from error
        except OSError as error:
            raise broken(Url(origin, "/"), error) from error
        return Connection(origin, wire, absolute=proxy is not None and origin.scheme == "http")

    def _proxy(self, origin: Origin) -> Origin | None:
        address = self._proxies.get(origin.scheme)
        if not address or is_loopback(origin.host) or proxy_bypass(origin.host):
            return None
        return parse_url(address if "://" in address else f"http://{address}").origin
