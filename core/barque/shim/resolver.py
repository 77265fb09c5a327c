"""The DNS server of one container: on 127.0.0.11 in its network namespace, served from the shim's loop.

Names of containers are answered from what the daemon last wrote (see `resolver_names`), whether it runs or not; all else is passed
on to DNS servers, or refused with SERVFAIL where the container's networks lead nowhere. Imported with the first query.
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from time import monotonic

from barque.shim.loop import Loop
from barque.shim.resolver_names import Names, reverse_address
from barque.shim.resolver_servers import Servers
from barque.shim.resolver_streams import Connection, Reply
from barque.shim.resolver_wire import (
    AAAA,
    ANY,
    FORMERR,
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
_A_TICK, _TICK_SECONDS = 1000, 0.1
_MAX_MESSAGE = 65535
_MAX_CONNECTIONS = 32
_IDLE_SECONDS = 10.0


class Resolver:
    """Serves the sockets that `resolver_sockets` made, which it takes over. `state` is the container's open state directory."""

    def __init__(self, loop: Loop, state: int, sockets: list[int]) -> None:
        udp, tcp, self._netns = sockets
        self._loop = loop
        self._names = Names(state)
        self._servers = Servers(loop, self._netns)
        self._udp = socket.socket(fileno=udp)
        self._tcp = socket.socket(fileno=tcp)
        self._connections: set[Connection] = set()
        self._looks_for_idle = False
        self._tick, self._taken_in_tick = 0.0, 0
        self._listen()

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

    def _listen(self) -> None:
        if self._udp.fileno() >= 0:
            self._loop.watch(self._udp.fileno(), select.EPOLLIN, self._datagrams)
            self._loop.watch(self._tcp.fileno(), select.EPOLLIN, self._accept)

    def _rest(self) -> None:
        """Take nothing until the next tick."""
        self._loop.forget(self._udp.fileno())
        self._loop.forget(self._tcp.fileno())
        self._loop.later(_TICK_SECONDS, self._listen)

    def _datagrams(self, _: int) -> None:
        """At most a few at a time: the container's output must get its turn, however many it asks."""
        for _ in range(_DATAGRAMS_A_ROUND):
            if not self._take():
                self._rest()
                return
            try:
                data, client = self._udp.recvfrom(_MAX_MESSAGE)
            except OSError:
                self._taken_in_tick -= 1
                return
            self._answer(data, False, lambda reply, client=client: self._send(reply, client))  # type: ignore[misc]

    def _take(self) -> bool:
        """Whether one more question, or connection, may be taken now. Not too many in a tick: a shim's time is not on the container's
        account."""
        now = monotonic()
        if now - self._tick >= _TICK_SECONDS:
            self._tick, self._taken_in_tick = now, 0
        self._taken_in_tick += 1
        return self._taken_in_tick <= _A_TICK

    def _send(self, reply: bytes, client: tuple[str, int]) -> None:
        if self._udp.fileno() >= 0:
            with suppress(OSError):  # it does not listen any more, or its buffer is full
                self._udp.sendto(reply, client)

    def _accept(self, _: int) -> None:
        if not self._take():
            self._rest()
            return
        try:
            sock, _address = self._tcp.accept()
        except OSError:
            return
        if len(self._connections) >= _MAX_CONNECTIONS:
            oldest = min(self._connections, key=lambda connection: connection.active)
            oldest.close()
        connection = Connection(self._loop, sock, self._take, self._answer, self._connections.discard)
        self._connections.add(connection)
        self._look_for_idle()

    def _look_for_idle(self) -> None:
        """One timer for all connections: of those that came and went nothing may stay behind."""
        if self._connections and not self._looks_for_idle:
            self._looks_for_idle = True
            first = min(connection.active for connection in self._connections)
            self._loop.later(max(_TICK_SECONDS, first + _IDLE_SECONDS - monotonic()), self._close_idle)

    def _close_idle(self) -> None:
        self._looks_for_idle = False
        idle = monotonic() - _IDLE_SECONDS
        for connection in tuple(self._connections):
            if connection.active <= idle:
                connection.close()
        self._look_for_idle()

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
