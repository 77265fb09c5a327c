"""Accepts connections and serves each on a thread of its own."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from barque.spi.frontend import Engine, Listener
from barque_api_docker.connection import Connection, Disconnected
from barque_api_docker.dispatch import Dispatcher
from barque_api_docker.limits import Limits

if TYPE_CHECKING:
    from barque_api_docker.tls import Terminator

__all__ = ["Server"]

_logger = logging.getLogger(__name__)
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 70\r\nConnection: close\r\n\r\n"
    b'{"message":"the daemon serves as many connections as it may; retry"}\r\n'
)
_STRANGERS = 4  # one in so many connections may be of clients that have not shown yet who they are
_KEEPALIVE_SECONDS = 30  # of silence, until the kernel asks whether a client is still there


class Server:
    """The listening sockets, their accepting threads, and the connections that are open."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._limits = limits
        self._dispatcher = Dispatcher(engine, limits)
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._admitted = 0
        self._strangers = 0
        self._sockets: list[socket.socket] = []
        self._stopping = False
        self._wake = -1
        self._spare = -1
        self._numbers = itertools.count(1)
        self._acceptors: list[threading.Thread] = []

    def start(self, listeners: tuple[Listener, ...]) -> None:
        """Serve `listeners` on threads of our own; their descriptors are duplicated. Errors: FailedPrecondition (bad certificates)."""
        terminators = [_terminator(listener, self._limits) for listener in listeners]
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        for listener, terminator in zip(listeners, terminators, strict=True):
            sock = socket.socket(fileno=os.dup(listener.fd))
            self._sockets.append(sock)
            thread = threading.Thread(
                target=self._accept, args=(sock, terminator), name=f"api-accept {listener.url}", daemon=True
            )
            self._acceptors.append(thread)
            thread.start()

    def stop(self, timeout: float) -> None:
        """Accept no more; let requests end for `timeout` seconds, then cut them. Streams that were handed over stay."""
        deadline = time.monotonic() + timeout
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        for thread in self._acceptors:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.stop()
        while self._connections and time.monotonic() < deadline:
            time.sleep(0.01)
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            if not connection.switched:
                connection.abort()
        self._release()

    def _release(self) -> None:
        for sock in self._sockets:
            sock.close()
        if not any(thread.is_alive() for thread in self._acceptors):
            os.close(self._wake)
        if self._spare >= 0:
            os.close(self._spare)

    def _accept(self, listener: socket.socket, terminator: Terminator | None) -> None:
        poll = select.poll()
        poll.register(listener.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            poll.poll()
            if self._stopping:
                return
            try:
                client, _ = listener.accept()
            except OSError as error:
                self._accept_failed(listener, error)
                continue
            self._admit(client, terminator)

    def _accept_failed(self, listener: socket.socket, error: OSError) -> None:
        """Out of descriptors: give the spare one up for a moment, so that the client hears of it at once."""
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            time.sleep(0.01)
            return
        with self._lock:
            if self._spare >= 0:
                os.close(self._spare)
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                _refuse(client)
            try:
                self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
                return
            except OSError:
                self._spare = -1
        time.sleep(0.05)

    def _admit(self, client: socket.socket, terminator: Terminator | None) -> None:
        if client.family != socket.AF_UNIX:
            _set_tcp_options(client)
        stranger, most = terminator is not None, self._limits.max_connections
        with self._lock:
            full = self._admitted >= most or (stranger and self._strangers * _STRANGERS >= most)
            self._admitted += not full
            self._strangers += stranger and not full
        if full:
            _refuse(client)
            return
        if not self._on_thread(self._serve_admitted, client, terminator):
            _refuse(client)
            self._leave()
            self._introduced(stranger)

    def _on_thread(self, work: Callable[..., None], *arguments: object) -> bool:
        """False when the kernel gives no more threads."""
        name = f"api-{next(self._numbers)}"
        try:
            threading.Thread(target=work, args=arguments, name=name, daemon=True).start()
        except RuntimeError:
            return False
        return True

    def _serve_admitted(self, client: socket.socket, terminator: Terminator | None) -> None:
        try:
            if terminator is None:
                self._serve(Connection(client, self._limits))
            else:
                self._serve_encrypted(client, terminator)
        finally:
            client.close()
            self._leave()

    def _serve_encrypted(self, client: socket.socket, terminator: Terminator) -> None:
        """The handshake and then the tunnel on this thread, the requests on another. Returns when the client's stream is at its end,
        which may be long after it was handed over."""
        from barque_api_docker.tls import HandshakeFailed

        try:
            tunnel = terminator.handshake(client)
        except HandshakeFailed as error:
            _logger.info("a client was turned away: %s", error)
            return
        finally:
            self._introduced(True)
        connection = Connection(tunnel.inner, self._limits, user=tunnel.user)
        if not self._on_thread(self._serve, connection):
            connection.close()
        tunnel.run()

    def _serve(self, connection: Connection) -> None:
        with self._lock:
            self._connections.add(connection)
        try:
            if self._stopping:
                return
            self._dispatcher.serve(connection)
        except Disconnected as error:
            _logger.debug("client left: %s", error)
        except Exception:
            _logger.exception("connection ended by a defect")
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _introduced(self, stranger: bool) -> None:
        """A client's handshake is over."""
        with self._lock:
            self._strangers -= stranger

    def _leave(self) -> None:
        with self._lock:
            self._admitted -= 1


def _terminator(listener: Listener, limits: Limits) -> Terminator | None:
    if listener.tls is None:
        return None
    from barque_api_docker.tls import Terminator  # OpenSSL is not in the memory of a daemon without TLS

    return Terminator(listener.tls, limits)


def _set_tcp_options(client: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it left already
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_SECONDS)


def _refuse(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        client.settimeout(0.0)
        client.sendall(_FULL)
    client.close()
