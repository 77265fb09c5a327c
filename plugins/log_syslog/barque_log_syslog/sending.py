"""Getting messages to the server without ever holding the container's shim up for long.

What the server does not take at once waits in memory, up to a limit. Then a driver that `waits` gives the server some time, once until it
takes something again; what does not fit after that is lost, and the shim is told by an OSError.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

__all__ = ["Sender"]

_CONNECT_SECONDS = 2.0
_PATIENCE_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_RETRY_SLOW_SECONDS = 30.0  # after a server that made us wait
_CLOSE_SECONDS = 2.0


class Sender:
    """A connection that is made when there is something to send, and again when it breaks.

    `connect` gives a non-blocking socket that may still be connecting; `datagrams`: a message is one, and never sent in parts.
    """

    def __init__(
        self, connect: Callable[[], socket.socket], datagrams: bool, waits: bool, limit: int
    ) -> None:
        self._connect, self._datagrams, self._waits, self._limit = connect, datagrams, waits, limit
        self._socket: socket.socket | None = None
        self._queue: deque[bytes] = deque()
        self._waiting = 0
        self._patient = True
        self._retry = 0.0

    def send(self, message: bytes) -> None:
        """Send it now or when there is room. Raises OSError when it is lost."""
        if self._waiting + len(message) > self._limit:
            self._flush(_PATIENCE_SECONDS if self._waits and self._patient else 0)
            if self._waiting + len(message) > self._limit:
                self._patient = False
                raise OSError(errno.ENOBUFS, "the log server does not take messages as fast as they come")
        self._queue.append(message)
        self._waiting += len(message)
        self._flush(0)

    def close(self) -> None:
        """Send what waits, if the server takes it soon, and close. Idempotent. Raises OSError when messages are lost."""
        try:
            if self._queue:
                self._retry = 0
                self._flush(_CLOSE_SECONDS)
            if self._queue:
                raise OSError(
                    errno.ETIMEDOUT, f"the log server did not take the last {len(self._queue)} messages"
                )
        finally:
            self._drop()

    def _flush(self, seconds: float) -> None:
        """Send what can be sent within `seconds`. Raises OSError when there is no connection."""
        sock = self._connected()
        deadline = monotonic() + seconds
        while self._queue:
            try:
                self._send_one(sock)
            except BlockingIOError:
                if not _writable(sock, deadline - monotonic()):
                    return
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    self._waiting -= len(self._queue.popleft())
                    raise
                self._drop()
                self._retry = monotonic() + _RETRY_SECONDS
                raise

    def _send_one(self, sock: socket.socket) -> None:
        message = self._queue[0]
        sent = sock.send(message)
        self._patient = True
        self._waiting -= sent
        if sent < len(message):
            self._queue[0] = message[sent:]
        else:
            self._queue.popleft()

    def _connected(self) -> socket.socket:
        if self._socket is not None:
            return self._socket
        if monotonic() < self._retry:
            self._forget_if_full()
            raise OSError(errno.ENOTCONN, "the log server cannot be reached")
        begun = monotonic()
        try:
            sock = self._connect()
            if not _writable(sock, _CONNECT_SECONDS):
                sock.close()
                raise TimeoutError(errno.ETIMEDOUT, "the log server does not answer")
            failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failure:
                sock.close()
                raise OSError(failure, f"the log server: {os.strerror(failure)}")
        except OSError:
            now = monotonic()
            self._retry = now + (_RETRY_SECONDS if now - begun < _RETRY_SECONDS / 10 else _RETRY_SLOW_SECONDS)
            self._forget_if_full()
            raise
        self._socket = sock
        return sock

    def _forget_if_full(self) -> None:
        """Without a server the newest messages are worth more than those that wait for it."""
        while self._queue and self._waiting > self._limit // 2:
            self._waiting -= len(self._queue.popleft())

    def _drop(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
            self._socket = None
        if self._queue and not self._datagrams:
            self._waiting -= len(self._queue.popleft())  # it may have been sent in part


def _writable(sock: socket.socket, seconds: float) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(max(0.0, seconds) * 1000))
