"""One attached client: the connection a daemon handed over, with a buffer of its own."""

from __future__ import annotations

import binascii
import select
import socket
from base64 import b64decode
from collections import deque
from contextlib import suppress
from itertools import islice
from time import monotonic
from typing import Protocol

from barque.shim.detach import DetachKeys
from barque.shim.loop import Loop
from barque.shim.protocol import ClientAttach
from barque.spi.errors import InvalidArgument

__all__ = ["BUFFER_LIMIT", "Client", "ClientOwner"]

BUFFER_LIMIT = 8 * 1024 * 1024
"""Bytes kept for a client that reads more slowly than the process writes."""

_BUFFER_LOW = BUFFER_LIMIT // 2
_STUCK_SHARED = 2.0
_STUCK_ALONE = 10.0
_HELD = 60.0
_CHUNK = 64 * 1024
_VECTOR = 64
_GONE = select.EPOLLHUP | select.EPOLLERR
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class ClientOwner(Protocol):
    """What a client tells the streams it is attached to."""

    def feed(self, data: bytes) -> None:
        """Input for the process."""

    def input_ended(self) -> None:
        """A client that gave input will give no more."""

    def accepts_input(self) -> bool:
        """Whether there is room for more input now."""

    def congested(self, client: Client, full: bool) -> None:
        """`client`'s buffer is full, or is no longer."""

    def is_shared(self) -> bool:
        """Whether other clients wait for the same output."""

    def detached(self) -> None:
        """A client typed the detach keys."""

    def gone(self, client: Client) -> None:
        """`client` is closed."""


class Client:
    """Sends output, takes input, and closes by itself when the peer is gone or stuck.

    A client that is slow but reads holds the process back, as a pipe would, once BUFFER_LIMIT is full. One that
    reads nothing at all for 2 s while others wait for the same output (10 s when it is alone) is closed.
    """

    def __init__(
        self, loop: Loop, sock: socket.socket, attach: ClientAttach, owner: ClientOwner, terminal: bool
    ) -> None:
        self._keys = DetachKeys(attach.detach_keys) if terminal and attach.stdin else None
        self._preread = _decode(attach.preread)
        self._loop = loop
        self._sock = sock
        self._attach = attach
        self._owner = owner
        self._queue: deque[memoryview | bytes] = deque()
        self._queued = 0
        self._progress = 0.0
        self._full = False
        self._reads = True
        self._finishing = False
        self._closed = False
        self._held_until = 0.0

    def hold(self) -> None:
        """Keep what the process writes from now on, and send nothing of it before `start`: the daemon is sending what it wrote so far.
        A daemon that takes longer than a minute has failed its client, which is closed once its buffer is full."""
        self._held_until = monotonic() + _HELD

    def start(self) -> None:
        """Begin to exchange data. Nothing for a client that is gone."""
        self._held_until = 0.0
        self._progress = monotonic()
        if self._queue or self._finishing:
            self._flush()
        self.update()
        if self._preread and self._attach.stdin:
            self._take_input(self._preread)
        self._preread = b""

    def disown(self) -> None:
        """Give the connection back untouched; for a client that was not started."""
        self._closed = True
        self._sock.detach()

    def wants(self, stream: int) -> bool:
        """Whether it attached to output 1 or 2."""
        return self._attach.stdout if stream == 1 else self._attach.stderr

    def send(self, data: bytes) -> None:
        """Send `data`, later if the peer does not read now."""
        if self._finishing or self._closed:
            return
        self._queue.append(data)
        self._queued += len(data)
        if len(self._queue) == 1:
            self._progress = monotonic()
            self._flush()
        if self._queued > BUFFER_LIMIT and not self._full:
            self._full = True
            self._owner.congested(self, True)
            self._loop.later(1.0, self._check_stuck)

    def finish(self) -> None:
        """Close as soon as all is sent."""
        self._finishing = True
        if self._closed:
            return
        if not self._queue and not self._held_until:
            self.close()
            return
        self._progress = monotonic()
        self._loop.later(1.0, self._check_stuck)

    def update(self) -> None:
        """Watch for what can be done now."""
        if self._closed or self._held_until:
            return
        events = select.EPOLLOUT if self._queue else 0
        if self._reads and (not self._attach.stdin or self._owner.accepts_input()):
            events |= select.EPOLLIN
        self._loop.watch(self._sock.fileno(), events, self._ready)

    def close(self) -> None:
        """Close now, whatever is still queued. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._loop.forget(self._sock.fileno())
        self._end_input()
        self._queue.clear()
        self._queued = 0
        self._set_room()
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            # Closing a TCP connection with unread input would reset it, and the peer lose what is on the way.
            while self._sock.recv(_CHUNK, socket.MSG_DONTWAIT):
                pass
        self._sock.close()
        self._owner.gone(self)

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if events & select.EPOLLIN and not self._closed:
            self._read()
        elif events & _GONE and self._waits_for_room():
            self._loop.forget(self._sock.fileno())  # its last input is still to be read; see update
        elif events & _GONE:
            self.close()

    def _waits_for_room(self) -> bool:
        return self._reads and self._attach.stdin and not self._owner.accepts_input()

    def _flush(self) -> None:
        if self._held_until or self._closed:
            return
        try:
            while self._queue:
                sent = self._sock.sendmsg(list(islice(self._queue, _VECTOR)), (), _FLAGS)
                self._progress = monotonic()
                self._consume(sent)
        except BlockingIOError:
            self.update()
        except OSError:
            self.close()
            return
        if self._queued < _BUFFER_LOW:
            self._set_room()
        if not self._queue:
            if self._finishing:
                self.close()
            else:
                self.update()

    def _consume(self, sent: int) -> None:
        self._queued -= sent
        while sent:
            first = self._queue.popleft()
            if sent < len(first):
                self._queue.appendleft(memoryview(first)[sent:])
                return
            sent -= len(first)

    def _set_room(self) -> None:
        if self._full:
            self._full = False
            self._owner.congested(self, False)

    def _check_stuck(self) -> None:
        if self._closed or not (self._full or self._finishing):
            return
        if monotonic() < self._held_until:
            self._loop.later(1.0, self._check_stuck)
            return
        limit = _STUCK_SHARED if self._owner.is_shared() and not self._finishing else _STUCK_ALONE
        if monotonic() - self._progress >= limit:
            self.close()
        else:
            self._loop.later(1.0, self._check_stuck)

    def _read(self) -> None:
        try:
            data = self._sock.recv(_CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self._end_input()
            self.update()
        elif self._attach.stdin:
            self._take_input(data)

    def _take_input(self, data: bytes) -> None:
        leaves = False
        if self._keys is not None:
            data, leaves = self._keys.scan(data)
        if data:
            self._owner.feed(data)
        if leaves:
            self._reads = False  # what the keys end is this client, not the process's input
            self._owner.detached()
            self.finish()

    def _end_input(self) -> None:
        if self._reads:
            self._reads = False
            if self._attach.stdin:
                self._owner.input_ended()


def _decode(preread: str) -> bytes:
    try:
        return b64decode(preread, validate=True)
    except binascii.Error as error:
        raise InvalidArgument(f"preread is not base64: {error}") from None
