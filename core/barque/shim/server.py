"""The shim's side of its sockets: connections, replies, and events to those who want them."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from socket import SocketType
from typing import Any

from barque.shim import packets
from barque.shim.loop import Loop
from barque.shim.protocol import SOCKET_NAME
from barque.spi.errors import BarqueError

__all__ = ["Connection", "Dispatch", "Server", "listen_at"]

Dispatch = Callable[["Connection", dict[str, Any], list[int]], Mapping[str, Any]]
"""Answers one request. It removes from the list the descriptors it keeps."""

_MAX_CONNECTIONS = 256
_MAX_QUEUE = 10_000
_UNIX = int(socket.AF_UNIX)
_SEQPACKET = int(socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
_CREDENTIALS = struct.Struct("3i")


class Connection:
    """One connection of a daemon: requests in, replies and (once `wants_events`) events out, in order."""

    def __init__(self, server: Server, sock: SocketType, *, wants_events: bool) -> None:
        self.wants_events = wants_events
        self.at_close: list[Callable[[], None]] = []
        self._server = server
        self._sock = sock
        self._queue: deque[bytes] = deque()
        sock.setblocking(False)
        self._watch()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send now or when the peer has room; a peer that never reads is closed in the end."""
        self.send_encoded(packets.encode(message))

    def send_encoded(self, message: bytes) -> None:
        """`send` for what is JSON already."""
        self._queue.append(message)
        if len(self._queue) == 1:
            self._flush()
        elif len(self._queue) > _MAX_QUEUE:
            self.close()

    def close(self) -> None:
        """Close. Idempotent."""
        if self._sock.fileno() >= 0:
            self._server.loop.forget(self._sock.fileno())
            self._sock.close()
            self._server.connections.discard(self)
            self.let_go()

    def let_go(self) -> None:
        """Do what was kept for this moment, or for the end of the connection. Idempotent."""
        while self.at_close:
            self.at_close.pop(0)()

    def _watch(self) -> None:
        events = select.EPOLLIN | (select.EPOLLOUT if self._queue else 0)
        self._server.loop.watch(self._sock.fileno(), events, self._ready)

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if events & ~select.EPOLLOUT and self._sock.fileno() >= 0:
            self._receive()

    def _flush(self) -> None:
        try:
            while self._queue:
                packets.send_bytes(self._sock, self._queue[0])
                self._queue.popleft()
        except BlockingIOError:
            self._watch()
            return
        except OSError:
            self.close()
            return
        self._watch()

    def _receive(self) -> None:
        try:
            received = packets.receive(self._sock)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        except BarqueError as error:
            self.send(packets.error_reply(error))
            return
        if received is None:
            self.close()
            return
        message, fds = received
        try:
            self.send(self._server.dispatch(self, message, fds))
        except BarqueError as error:
            self.send(packets.error_reply(error))
        except Exception as error:
            self.send(packets.error_reply(error))
            raise
        finally:
            packets.close_all(fds)


class Server:
    """Accepts daemons of the shim's own user on the socket `listener`, and sends events to all who want them.

    `state` is the open directory that the socket is bound in.
    """

    def __init__(self, loop: Loop, state: int, listener: int, dispatch: Dispatch) -> None:
        self.loop = loop
        self.dispatch = dispatch
        self.connections: set[Connection] = set()
        self._state = state
        self._listener: socket.socket | None = socket.socket(fileno=listener)
        self.loop.watch(listener, select.EPOLLIN, self._accept)

    def adopt(self, sock: SocketType) -> None:
        """The daemon's end of `control`: a connection that wants events from the first."""
        self.connections.add(Connection(self, sock, wants_events=True))

    def announce(self, event: Mapping[str, Any]) -> None:
        """Send `event` to whoever wants events."""
        self.announce_encoded(packets.encode(event))

    def announce_encoded(self, event: bytes) -> None:
        """`announce` for what is JSON already."""
        for connection in tuple(self.connections):
            if connection.wants_events:
                connection.send_encoded(event)

    def stop(self) -> None:
        """Unlink the socket: the next shim of this container may bind its own. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(FileNotFoundError):
                os.unlink(SOCKET_NAME, dir_fd=self._state)
            self.loop.forget(listener.fileno())
            listener.close()

    def close(self) -> None:
        """Close every connection and the listening socket, whose name stays."""
        for connection in tuple(self.connections):
            connection.close()
        if self._listener is not None:
            self._listener.close()

    def _accept(self, _: int) -> None:
        if self._listener is None:
            return
        try:
            sock, _address = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                self._pause()
            return
        if len(self.connections) >= _MAX_CONNECTIONS or _peer_uid(sock) != os.geteuid():
            sock.close()
            return
        self.connections.add(Connection(self, sock, wants_events=False))

    def _pause(self) -> None:
        """Out of descriptors: an unaccepted connection would keep the loop busy."""
        if self._listener is not None:
            self.loop.forget(self._listener.fileno())
            self.loop.later(0.2, self._resume)

    def _resume(self) -> None:
        if self._listener is not None:
            self.loop.watch(self._listener.fileno(), select.EPOLLIN, self._accept)


def listen_at(state: int) -> SocketType:
    """A listening socket `shim.sock` (mode 0600) in the open directory `state`; a stale one is replaced.

    The path goes through /proc because the kernel takes no more than 108 bytes.
    """
    listener = SocketType(_UNIX, _SEQPACKET, 0)
    umask = os.umask(0o177)
    try:
        with suppress(FileNotFoundError):
            os.unlink(SOCKET_NAME, dir_fd=state)
        listener.bind(f"/proc/self/fd/{state}/{SOCKET_NAME}")
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(umask)
    return listener


def _peer_uid(sock: SocketType) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])
