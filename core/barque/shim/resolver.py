"""The DNS server of one container: on 127.0.0.11 in its network namespace, served from the shim's loop.

Names of containers are answered from what the daemon last wrote (see `resolver_names`), whether it runs or not; all else is passed
on to DNS servers, or refused with SERVFAIL where the container's networks lead nowhere. Imported with the first query.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from barque.shim.loop import Loop
from barque.shim.resolver_names import Names, reverse_address
from barque.shim.resolver_servers import Servers
from barque.shim.resolver_wire import (
    AAAA,
    ANY,
    FORMERR,
    HEADER_SIZE,
    IN,
    NOTIMP,
    PTR,
    SERVFAIL,
    A,
    Malformed,
    Question,
    Record,
    answer,
    encode_name,
    parse,
    refusal,
    shortened,
)

__all__ = ["Resolver"]

_DATAGRAMS_A_ROUND = 32
_DATAGRAMS_A_TICK, _TICK_SECONDS = 1000, 0.1
_MAX_MESSAGE = 65535
_MAX_CONNECTIONS = 32
_MAX_PIPELINED = 16
_IDLE_SECONDS = 10.0

Reply = Callable[[bytes], None]


class Resolver:
    """Serves the sockets that `resolver_sockets` made, which it takes over. `state` is the container's open state directory."""

    def __init__(self, loop: Loop, state: int, sockets: list[int]) -> None:
        udp, tcp, self._netns = sockets
        self._loop = loop
        self._names = Names(state)
        self._servers = Servers(loop, self._netns)
        self._udp = socket.socket(fileno=udp)
        self._tcp = socket.socket(fileno=tcp)
        self._connections: set[_Connection] = set()
        self._tick, self._datagrams_in_tick = 0.0, 0
        loop.watch(udp, select.EPOLLIN, self._datagrams)
        loop.watch(tcp, select.EPOLLIN, self._accept)

    def close(self) -> None:
        """Stop, and let go of the container's namespace. Idempotent."""
        self._servers.close()
        for connection in tuple(self._connections):
            connection.close()
        for sock in (self._udp, self._tcp):
            if sock.fileno() >= 0:
                self._loop.forget(sock.fileno())
                sock.close()
        if self._netns >= 0:
            os.close(self._netns)
            self._netns = -1

    def _datagrams(self, _: int) -> None:
        """At most a few at a time: the container's output must get its turn, however many it asks. And not too many in a tick: a shim's
        time is not on the container's account."""
        if self._too_many(monotonic()):
            self._loop.forget(self._udp.fileno())
            self._loop.later(_TICK_SECONDS, self._listen_again)
            return
        for _ in range(_DATAGRAMS_A_ROUND):
            try:
                data, client = self._udp.recvfrom(_MAX_MESSAGE)
            except OSError:
                return
            self._datagrams_in_tick += 1
            self._answer(data, False, lambda reply, client=client: self._send(reply, client))  # type: ignore[misc]

    def _too_many(self, now: float) -> bool:
        if now - self._tick >= _TICK_SECONDS:
            self._tick, self._datagrams_in_tick = now, 0
        return self._datagrams_in_tick >= _DATAGRAMS_A_TICK

    def _listen_again(self) -> None:
        if self._udp.fileno() >= 0:
            self._loop.watch(self._udp.fileno(), select.EPOLLIN, self._datagrams)

    def _send(self, reply: bytes, client: tuple[str, int]) -> None:
        if self._udp.fileno() >= 0:
            with suppress(OSError):  # it does not listen any more, or its buffer is full
                self._udp.sendto(reply, client)

    def _accept(self, _: int) -> None:
        try:
            sock, _address = self._tcp.accept()
        except OSError:
            return
        if len(self._connections) >= _MAX_CONNECTIONS:
            oldest = min(self._connections, key=lambda connection: connection.active)
            oldest.close()
        connection = _Connection(self._loop, sock, self._answer, self._connections.discard)
        self._connections.add(connection)

    def _answer(self, data: bytes, tcp: bool, reply: Reply) -> None:
        try:
            question = parse(data)
        except Malformed as error:
            if not error.silent:
                reply(refusal(data, FORMERR))
            return
        if not question.standard:
            reply(refusal(data, NOTIMP))
            return
        limit = _MAX_MESSAGE if tcp else question.limit
        self._names.refresh()
        records = self._records(question) if question.cls == IN else None
        if records is not None:
            reply(answer(question, records, limit))
        else:
            self._forward(question, data, tcp, limit, reply)

    def _records(self, question: Question) -> list[Record] | None:
        """What we know of the name; None when it is not ours."""
        if question.type == PTR:
            address = reverse_address(question.name)
            name = None if address is None else self._names.name_of(address)
            data = encode_name(name) if name else b""
            return [Record(PTR, data)] if data else None
        found = self._names.addresses(question.name)
        if found is None:
            local = question.type in (A, AAAA) and not self._names.forwards(question.name)
            return [] if local else None
        records = [_address_record(address) for address in found]
        return _rotated([record for record in records if question.type in (record.type, ANY)])

    def _forward(self, question: Question, data: bytes, tcp: bool, limit: int, reply: Reply) -> None:
        def done(received: bytes | None) -> None:
            if received is None:
                reply(answer(question, (), limit, SERVFAIL))
            else:
                reply(received if len(received) <= limit else shortened(received, question))

        self._servers.ask(self._names.servers(), question, data, tcp, done)


def _address_record(address: str) -> Record:
    if ":" in address:
        return Record(AAAA, socket.inet_pton(socket.AF_INET6, address))
    return Record(A, socket.inet_pton(socket.AF_INET, address))


def _rotated(records: list[Record]) -> list[Record]:
    """Each of several containers with one alias has its turn at the head."""
    first = os.urandom(1)[0] % len(records) if len(records) > 1 else 0
    return records[first:] + records[:first]


class _Connection:
    """A client over TCP: messages with their lengths before them, answered in any order (RFC 7766)."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        ask: Callable[[bytes, bool, Reply], None],
        closed: Callable[[_Connection], None],
    ) -> None:
        self._loop, self._socket, self._ask, self._closed = loop, sock, ask, closed
        self.active = monotonic()
        self._in = b""
        self._out = b""
        self._unanswered = 0
        sock.setblocking(False)
        self._watch()
        loop.later(_IDLE_SECONDS, self._check_idle)

    def close(self) -> None:
        """Close. Idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._closed(self)

    def _watch(self) -> None:
        reading = select.EPOLLIN if self._unanswered < _MAX_PIPELINED and not self._out else 0
        self._loop.watch(self._socket.fileno(), reading | (select.EPOLLOUT if self._out else 0), self._ready)

    def _ready(self, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                self._flush()
            if events & select.EPOLLIN:
                self._receive()
            elif events & (select.EPOLLHUP | select.EPOLLERR):
                self.close()
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _receive(self) -> None:
        data = self._socket.recv(_MAX_MESSAGE)
        if not data:
            self.close()
            return
        self.active = monotonic()
        self._in += data
        self._take()

    def _take(self) -> None:
        """Ask what has come whole, but no more at a time than may be under way."""
        while self._unanswered < _MAX_PIPELINED:
            length = int.from_bytes(self._in[:2], "big")
            if len(self._in) < 2 or len(self._in) < 2 + length:
                break
            message, self._in = self._in[2 : 2 + length], self._in[2 + length :]
            if length < HEADER_SIZE:
                self.close()
                return
            self._unanswered += 1
            self._ask(message, True, self._reply)
        if self._socket.fileno() >= 0:
            self._watch()

    def _reply(self, message: bytes) -> None:
        if self._socket.fileno() < 0:
            return
        self._unanswered -= 1
        self._out += len(message).to_bytes(2, "big") + message
        with suppress(OSError):
            self._flush()

    def _flush(self) -> None:
        try:
            self._out = self._out[self._socket.send(self._out) :]
        except BlockingIOError:
            self._watch()
            return
        self._watch()
        if not self._out and self._in:
            self._loop.later(0, self._more)

    def _more(self) -> None:
        if self._socket.fileno() >= 0:
            self._take()

    def _check_idle(self) -> None:
        if self._socket.fileno() < 0:
            return
        left = self.active + _IDLE_SECONDS - monotonic()
        if left <= 0:
            self.close()
        else:
            self._loop.later(left, self._check_idle)
