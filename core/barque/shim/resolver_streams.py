"""A client over TCP of a container's DNS server: messages with their lengths before them, answered in any order (RFC 7766)."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from barque.shim.loop import Loop
from barque.shim.resolver_wire import HEADER_SIZE

__all__ = ["Connection", "Reply"]

_MAX_MESSAGE = 65535
_MAX_PIPELINED = 16
_A_TURN = 32
_PAUSE_SECONDS = 0.001  # not 0: the loop would do nothing else
_TICK_SECONDS = 0.1

Reply = Callable[[bytes], None]


class Connection:
    """One client. `take` says whether one more question may be taken now; `ask` answers it, at once or later.

    It takes a few questions a turn, and none while answers wait for the client: nobody can have more held for him than that.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        take: Callable[[], bool],
        ask: Callable[[bytes, bool, Reply], None],
        closed: Callable[[Connection], None],
    ) -> None:
        self._loop, self._socket = loop, sock
        self._may_take, self._ask, self._closed = take, ask, closed
        self.active = monotonic()
        self._in = b""
        self._out = b""
        self._unanswered = 0
        self._taking = self._pausing = False
        sock.setblocking(False)
        self._watch()

    def close(self) -> None:
        """Close, and hold nothing any more: a question under way may keep this object for some seconds. Idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._in = self._out = b""
            self._closed(self)

    def _watch(self) -> None:
        takes = self._unanswered < _MAX_PIPELINED and not self._out and not self._pausing
        events = (select.EPOLLIN if takes else 0) | (select.EPOLLOUT if self._out else 0)
        self._loop.watch(self._socket.fileno(), events, self._ready)

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
        """Ask what has come whole."""
        self._taking = True
        for _ in range(_A_TURN):
            length = int.from_bytes(self._in[:2], "big")
            whole = len(self._in) >= 2 and len(self._in) >= 2 + length
            if not whole or self._out or self._unanswered >= _MAX_PIPELINED:
                break
            if length < HEADER_SIZE:
                self.close()
                break
            if not self._may_take():
                self._pause(_TICK_SECONDS)
                break
            message, self._in = self._in[2 : 2 + length], self._in[2 + length :]
            self._unanswered += 1
            self._ask(message, True, self._reply)
        else:
            self._pause(_PAUSE_SECONDS)
        self._taking = False
        if self._socket.fileno() >= 0:
            self._watch()

    def _pause(self, seconds: float) -> None:
        if not self._pausing:
            self._pausing = True
            self._loop.later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._pausing = False
        if self._socket.fileno() >= 0:
            self._take()

    def _reply(self, message: bytes) -> None:
        if self._socket.fileno() < 0:
            return
        self._unanswered -= 1
        self._out += len(message).to_bytes(2, "big") + message
        try:
            self._flush()
        except OSError:
            self.close()

    def _flush(self) -> None:
        with suppress(BlockingIOError):
            self._out = self._out[self._socket.send(self._out) :]
        if self._taking:
            return
        if not self._out and self._in:
            self._pause(_PAUSE_SECONDS)
        self._watch()
