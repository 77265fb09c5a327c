"""A TCP or TLS connection that http.client can use, and that never blocks for longer than it is allowed to.

Sockets are non-blocking underneath; every wait is a poll(2) of a fifth of a second, after which the caller's `check` may raise.
That gives cancellation within a second and one idle timeout in all phases: name resolution, connect, TLS, headers, body.
"""

from __future__ import annotations

import io
import select
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial

__all__ = ["Check", "NotTls", "Stalled", "Wire"]

Check = Callable[[], None]

_POLL_MS = 200
_BUFFER = 256 << 10
# A peer that drips, or takes, fewer bytes than this in a whole idle timeout counts as stalled (slow loris).
_LEAST_BYTES = 4096


class Stalled(OSError):
    """Nothing, or next to nothing, moved within the idle timeout."""


class NotTls(OSError):
    """The peer does not speak TLS."""


class Wire:
    """One connection. `check` is called at every wait and at least five times a second; set it before each request."""

    def __init__(self, sock: socket.socket, idle_timeout: float, check: Check) -> None:
        self._socket = sock
        self._idle_timeout = idle_timeout
        self._poller = select.poll()
        self._poller.register(sock.fileno(), select.POLLIN)
        self._readers = 0
        self._closed = False
        self.begin(check)

    def begin(self, check: Check) -> None:
        """Start a new exchange: the timeouts count from here."""
        self.check = check
        self._checked = time.monotonic()
        self._silent = self._waited = 0.0
        self._moved = 0

    def start_tls(self, context: ssl.SSLContext, host: str, plain_possible: bool) -> None:
        """Negotiate TLS. `NotTls` instead of an SSLError only when `plain_possible` and the certificate is not what failed."""
        try:
            wrapped = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
            self._socket = wrapped
            self._retrying(wrapped.do_handshake, select.POLLIN)
        except ssl.SSLCertVerificationError:
            raise
        except (ssl.SSLError, ConnectionError) as error:
            if plain_possible:
                raise NotTls(f"{host} does not speak TLS") from error
            raise

    def sendall(self, data: bytes) -> None:
        """As socket.sendall, for http.client."""
        view = memoryview(data)
        while view:
            count = self._retrying(partial(self._socket.send, view), select.POLLOUT)
            self._progress(count)
            view = view[count:]

    def recv_into(self, view: memoryview) -> int:
        """Bytes received, 0 at the end of the stream. Raises `Stalled`, or what `check` raises."""
        count = self._retrying(partial(self._socket.recv_into, view), select.POLLIN)
        self._progress(count)
        return count

    def makefile(self, *_args: object, **_kwargs: object) -> io.BufferedReader:
        """As socket.makefile("rb"): the connection stays open until both are closed."""
        self._readers += 1
        return io.BufferedReader(_Reader(self), _BUFFER)

    def close(self) -> None:
        """Close once no reader is left. Idempotent."""
        self._closed = True
        self._close_if_unused()

    def reader_closed(self) -> None:
        self._readers -= 1
        self._close_if_unused()

    def is_spent(self) -> bool:
        """Whether the peer sent something or hung up while nobody asked: an idle connection that is of no more use."""
        self._poller.modify(self._socket.fileno(), select.POLLIN)
        return bool(self._poller.poll(0))

    def _close_if_unused(self) -> None:
        if self._closed and self._readers <= 0:
            self._socket.close()

    def _retrying(self, operation: Callable[[], int | None], direction: int) -> int:
        """Call a non-blocking operation until it is done; `direction` is what it waits for when the kernel says EAGAIN."""
        while True:
            self._check_in_time()
            try:
                return operation() or 0
            except (BlockingIOError, ssl.SSLWantReadError) as wanted:
                self._wait(select.POLLIN if isinstance(wanted, ssl.SSLError) else direction)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)

    def _wait(self, events: int) -> None:
        self._poller.modify(self._socket.fileno(), events)
        started = time.monotonic()
        self._poller.poll(_POLL_MS)
        self._account(time.monotonic() - started)

    def _progress(self, count: int) -> None:
        self._moved += count
        self._silent = 0.0

    def _account(self, waited: float) -> None:
        self._silent += waited
        self._waited += waited
        if self._silent >= self._idle_timeout:
            raise Stalled(f"no data for {self._idle_timeout:g} seconds")
        if self._waited >= self._idle_timeout:
            if self._moved < _LEAST_BYTES:
                raise Stalled(f"only {self._moved} bytes in {self._idle_timeout:g} seconds")
            self._waited, self._moved = 0.0, 0

    def _check_in_time(self) -> None:
        now = time.monotonic()
        if now - self._checked >= _POLL_MS / 1000:
            self._checked = now
            self.check()


class _Reader(io.RawIOBase):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        return self._wire.recv_into(memoryview(buffer))  # type: ignore[arg-type]

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._wire.reader_closed()
