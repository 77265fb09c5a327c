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

from barque.spi.frontend import Engine, Listener
from barque_api_docker.connection import Connection, Disconnected
from barque_api_docker.dispatch import Dispatcher
from barque_api_docker.limits import Limits

__all__ = ["Server"]

_logger = logging.getLogger(__name__)
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 70\r\nConnection: close\r\n\r\n"
    b'{"message":"the daemon serves as many connections as it may; retry"}\r\n'
)


class Server:
    """The listening sockets, their accepting threads, and the connections that are open."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._limits = limits
        self._dispatcher = Dispatcher(engine, limits)
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._sockets: list[socket.socket] = []
        self._stopping = False
        self._wake = -1
        self._spare = -1
        self._numbers = itertools.count(1)
        self._acceptors: list[threading.Thread] = []

    def start(self, listeners: tuple[Listener, ...]) -> None:
        """Serve `listeners` on threads of our own; their descriptors are duplicated."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        for listener in listeners:
            sock = socket.socket(fileno=os.dup(listener.fd))
            self._sockets.append(sock)
            thread = threading.Thread(
                target=self._accept, args=(sock,), name=f"api-accept {listener.url}", daemon=True
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

    def _accept(self, listener: socket.socket) -> None:
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
            self._admit(client)

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
            except OSError:
                self._spare = -1
        time.sleep(0.05)

    def _admit(self, client: socket.socket) -> None:
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(client, self._limits)
        with self._lock:
            full = len(self._connections) >= self._limits.max_connections
            if not full:
                self._connections.add(connection)
        if full:
            _refuse(client)
            return
        name = f"api-{next(self._numbers)}"
        try:
            threading.Thread(target=self._serve, args=(connection,), name=name, daemon=True).start()
        except RuntimeError:  # the kernel gives no more threads
            self._forget(connection)
            _refuse(client)

    def _serve(self, connection: Connection) -> None:
        try:
            self._dispatcher.serve(connection)
        except Disconnected as error:
            _logger.debug("client left: %s", error)
        except Exception:
            _logger.exception("connection ended by a defect")
        finally:
            self._forget(connection)
            connection.close()

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._connections.discard(connection)


def _refuse(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        client.settimeout(0.0)
        client.sendall(_FULL)
    client.close()
