"""Asking DNS servers for what no container is called: one socket a query, with a random source port and id.

The sockets of a query that goes to a server of the user's (`--dns`) are made in the container's network namespace: what the
container cannot reach is not reached for it. Those of the host's servers are made in the host's.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic

from barque.shim import kernel
from barque.shim.loop import Loop
from barque.shim.resolver_names import Server
from barque.shim.resolver_wire import HEADER_SIZE, REFUSED, SERVFAIL, Question, answers_to

__all__ = ["Servers"]

_TIMEOUT = 3.0
_MAX_QUERIES = 256
_MAX_SERVERS = 3
_MAX_ANSWER = 65535
_STRAY_ANSWERS = 16

Done = Callable[[bytes | None], None]
"""Gets the server's answer with the client's id, or None when there is none."""


class Servers:
    """The queries under way. `netns` is the container's network namespace."""

    def __init__(self, loop: Loop, netns: int) -> None:
        self._loop, self._netns = loop, netns
        # by socket, the first that is due at the head
        self._queries: OrderedDict[int, _Query] = OrderedDict()
        self._waking = False

    def ask(self, servers: Sequence[Server], question: Question, data: bytes, tcp: bool, done: Done) -> None:
        """Ask one server after the other until one has an answer; `done` is called once, perhaps at once."""
        if len(self._queries) >= _MAX_QUERIES:
            done(None)
            return
        self._next(_Query(list(servers[:_MAX_SERVERS]), question, data, tcp, done))

    def close(self) -> None:
        """Give all up. Idempotent."""
        while self._queries:
            self._drop(self._queries.popitem()[1])

    def _next(self, query: _Query) -> None:
        """Go on with the next server, or tell what there is to tell."""
        while query.servers:
            server = query.servers.pop(0)
            try:
                query.send(self._connected(server, query.tcp))
            except OSError:
                query.drop()
                continue
            sock = query.fileno()
            self._queries[sock] = query
            events = select.EPOLLOUT if query.tcp else select.EPOLLIN
            self._loop.watch(sock, events, lambda events: self._ready(query, events))
            self._wake()
            return
        query.done(query.last)

    def _ready(self, query: _Query, events: int) -> None:
        try:
            answer = query.step(events)
        except OSError:
            answer = b""
        if answer is None:
            if query.tcp:
                self._loop.watch(query.fileno(), query.wants(), lambda events: self._ready(query, events))
            return
        self._forget(query)
        if answer:
            query.last = query.data[:2] + answer[2:]
        if answer and answer[3] & 0xF not in (SERVFAIL, REFUSED):
            query.done(query.last)
        else:
            self._next(query)

    def _forget(self, query: _Query) -> None:
        self._queries.pop(query.fileno(), None)
        self._drop(query)

    def _drop(self, query: _Query) -> None:
        self._loop.forget(query.fileno())
        query.drop()

    def _wake(self) -> None:
        """All wait equally long, so one timer for the first is enough."""
        if self._queries and not self._waking:
            self._waking = True
            first = next(iter(self._queries.values()))
            self._loop.later(max(0.01, first.due - monotonic()), self._overdue)

    def _overdue(self) -> None:
        self._waking = False
        now = monotonic()
        late = [query for query in self._queries.values() if query.due <= now]
        for query in late:
            self._forget(query)
        for query in late:
            self._next(query)
        self._wake()

    def _connected(self, server: Server, tcp: bool) -> socket.socket:
        if server.place == "host":
            return _connect(server, tcp)
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.setns(self._netns, kernel.CLONE_NEWNET)
            try:
                return _connect(server, tcp)
            finally:
                kernel.setns(own, kernel.CLONE_NEWNET)
        finally:
            os.close(own)


def _connect(server: Server, tcp: bool) -> socket.socket:
    """A socket that takes datagrams of nobody else; the kernel chooses a random port."""
    address, _, zone = server.address.partition("%")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        scope = (0, socket.if_nametoindex(zone)) if zone else ()
        with suppress(BlockingIOError):
            sock.connect((address, server.port, *scope))
    except OSError:
        sock.close()
        raise
    return sock


class _Query:
    """One question on its way: a datagram, or (over TCP, RFC 7766) a stream with lengths before the messages."""

    def __init__(self, servers: list[Server], question: Question, data: bytes, tcp: bool, done: Done) -> None:
        self.servers, self.question, self.data, self.tcp, self.done = servers, question, data, tcp, done
        self.last: bytes | None = None
        self.due = 0.0
        self._socket: socket.socket | None = None
        self._id = 0
        self._out = b""
        self._in = b""
        self._strays = 0

    def fileno(self) -> int:
        """Its socket's descriptor, -1 when it has none."""
        return -1 if self._socket is None else self._socket.fileno()

    def send(self, sock: socket.socket) -> None:
        """Ask through `sock`. Raises OSError."""
        self._socket = sock
        self.due = monotonic() + _TIMEOUT
        id = os.urandom(2)
        self._id = int.from_bytes(id, "big")
        message = id + self.data[2:]
        self._in, self._strays = b"", 0
        if self.tcp:
            self._out = len(message).to_bytes(2, "big") + message
        else:
            sock.send(message)

    def wants(self) -> int:
        """What a stream waits for."""
        return select.EPOLLOUT if self._out else select.EPOLLIN

    def step(self, events: int) -> bytes | None:
        """Go on: the answer, None when it has not come yet, b"" when none will. Raises OSError."""
        sock = self._socket
        if sock is None:
            return b""
        try:
            if self.tcp:
                return self._stream(sock, events)
            data = sock.recv(_MAX_ANSWER)
        except BlockingIOError:
            return None
        if answers_to(data, self._id, self.question) >= 0:
            return data
        self._strays += 1  # somebody guesses: the true answer may still come, but not for ever
        return b"" if self._strays >= _STRAY_ANSWERS else None

    def _stream(self, sock: socket.socket, events: int) -> bytes | None:
        if self._out:
            if events & select.EPOLLERR:
                raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            self._out = self._out[sock.send(self._out) :]
            return None
        data = sock.recv(_MAX_ANSWER)
        self._in += data
        length = int.from_bytes(self._in[:2], "big")
        if len(self._in) >= 2 and length < HEADER_SIZE:
            return b""
        if len(self._in) >= 2 + length:
            message = self._in[2 : 2 + length]
            return message if answers_to(message, self._id, self.question) >= 0 else b""
        return None if data else b""

    def drop(self) -> None:
        """Close its socket. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
