"""One TCP connection between two sockets, and the UDP flows of one port. Non-blocking, driven by the keeper's selector."""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from barque.spi.errors import BarqueError

__all__ = ["Address", "DatagramRelay", "StreamRelay"]

_PIECE = 128 * 1024
_DATAGRAM = 65536
_MOST_FLOWS = 1024
_FLOW_IDLE = 90.0  # seconds, as docker-proxy

Address = tuple[str, int]


class StreamRelay:
    """Copies both ways until both sides have said all, each end of speech passed on as a half close."""

    def __init__(
        self, selector: selectors.BaseSelector, client: socket.socket, target: socket.socket
    ) -> None:
        """`target` may still be connecting."""
        self._selector = selector
        self._other = {client: target, target: client}
        self._waiting = {client: bytearray(), target: bytearray()}  # to be written to it
        self._ended: set[socket.socket] = set()  # has said all
        self._shut: set[socket.socket] = set()  # has been told all
        self._connecting: socket.socket | None = target
        for one in (client, target):
            one.setblocking(False)
            selector.register(one, selectors.EVENT_WRITE, self._ready)
        self._watch()

    def _ready(self, key: selectors.SelectorKey, mask: int) -> None:
        one = key.fileobj
        if not isinstance(one, socket.socket) or one not in self._other:
            return
        try:
            if one is self._connecting:
                error = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, "connecting to the container")
                self._connecting = None
            if mask & selectors.EVENT_READ:
                self._read(one)
            self._flush(one)
            self._flush(self._other[one])
        except BlockingIOError:
            pass
        except OSError:
            self._abort()
            return
        if len(self._shut) == 2:
            self._close()
        else:
            self._watch()

    def _read(self, one: socket.socket) -> None:
        data = one.recv(_PIECE)
        if data:
            self._waiting[self._other[one]] += data
        else:
            self._ended.add(one)

    def _flush(self, one: socket.socket) -> None:
        """Write what waits for `one`; when its peer has ended and nothing waits, end its side too."""
        if one is self._connecting:
            return
        waiting = self._waiting[one]
        if waiting:
            with suppress(BlockingIOError):
                del waiting[: one.send(waiting)]
        if not waiting and self._other[one] in self._ended and one not in self._shut:
            self._shut.add(one)
            one.shutdown(socket.SHUT_WR)

    def _watch(self) -> None:
        """Read from a side only while the other keeps up; nothing at all while connecting but its end."""
        for one, other in self._other.items():
            mask = selectors.EVENT_WRITE if self._waiting[one] or one is self._connecting else 0
            if one not in self._ended and not self._waiting[other] and self._connecting is None:
                mask |= selectors.EVENT_READ
            registered = one in self._selector.get_map()
            if mask and registered:
                self._selector.modify(one, mask, self._ready)
            elif mask:
                self._selector.register(one, mask, self._ready)
            elif registered:
                self._selector.unregister(one)

    def _abort(self) -> None:
        """Reset both: an error of one side must not look like a regular end to the other."""
        for one in self._other:
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._close()

    def _close(self) -> None:
        for one in self._other:
            with suppress(KeyError):
                self._selector.unregister(one)
            one.close()
        self._other.clear()


class DatagramRelay:
    """What comes to the host's socket `outer` goes to the target, from one socket for each client; answers go back."""

    def __init__(
        self, selector: selectors.BaseSelector, outer: socket.socket, connected: Callable[[], socket.socket]
    ) -> None:
        self._selector, self._outer, self._connected = selector, outer, connected
        self._flows: OrderedDict[Address, tuple[socket.socket, float]] = OrderedDict()  # the idlest first
        selector.register(outer, selectors.EVENT_READ, self._from_client)

    def close(self) -> None:
        """Forget all flows; `outer` stays the caller's."""
        self._selector.unregister(self._outer)
        while self._flows:
            self._drop(next(iter(self._flows)))

    def _from_client(self, _key: selectors.SelectorKey, _mask: int) -> None:
        # A full queue, or the refusal that an earlier datagram met: datagrams get lost.
        with suppress(OSError, BarqueError):
            data, client = self._outer.recvfrom(_DATAGRAM)
            inner = self._flow(client)
            inner.send(data)

    def _flow(self, client: Address) -> socket.socket:
        known = self._flows.pop(client, None)
        if known is None:
            self._make_room()
        inner = known[0] if known is not None else self._connected()
        self._flows[client] = (inner, time.monotonic())
        if known is None:
            self._selector.register(
                inner, selectors.EVENT_READ, lambda _key, _mask: self._from_target(client, inner)
            )
        return inner

    def _from_target(self, client: Address, inner: socket.socket) -> None:
        with suppress(OSError):
            self._outer.sendto(inner.recv(_DATAGRAM), client)
        if client in self._flows:
            self._flows[client] = (inner, time.monotonic())
            self._flows.move_to_end(client)

    def _make_room(self) -> None:
        while self._flows:
            client, (_, used) = next(iter(self._flows.items()))
            if len(self._flows) < _MOST_FLOWS and time.monotonic() - used < _FLOW_IDLE:
                return
            self._drop(client)

    def _drop(self, client: Address) -> None:
        inner, _ = self._flows.pop(client)
        self._selector.unregister(inner)
        inner.close()
