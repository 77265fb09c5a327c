"""`GET /containers/{id}/attach/ws`: a container's streams in websocket messages.

The container's shim speaks bytes, so it gets one end of a socket pair and this process carries them to and from the client's
frames: unlike a plain attach, the connection ends with the daemon. Output of stdout and stderr comes as it was written, not
told apart (as dockerd's).
"""

from __future__ import annotations

import codecs
import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable

from barque.spi.frontend import AttachRequest, ClientStream
from barque_api_docker.call import Call
from barque_api_docker.connection import Connection, Disconnected
from barque_api_docker.detach_keys import detach_keys
from barque_api_docker.websocket import (
    NORMAL,
    Closed,
    Decoder,
    close_frame,
    data_frame,
    handshake,
    pong_frame,
)

__all__ = ["attach"]

_CHUNK = 64 << 10
# Clients before this version get all three streams; before that one, messages of type text.
_STREAMS_SINCE = (1, 42)
_BINARY_SINCE = (1, 28)


def attach(call: Call) -> None:
    """`GET /containers/{id}/attach/ws`."""
    container = call.engine.container_get(call.params["id"])
    every = call.api_version < _STREAMS_SINCE
    request = AttachRequest(
        stdin=every or call.query_flag("stdin"),
        stdout=every or call.query_flag("stdout"),
        stderr=every or call.query_flag("stderr"),
        stream=call.query_flag("stream"),
        logs=call.query_flag("logs"),
        detach_keys=detach_keys(call.query("detachKeys") or ""),
    )
    head = handshake(call.request)
    unpack = _as_it_is if container.config.tty else _Frames().payloads
    pack = data_frame if call.api_version >= _BINARY_SINCE else _Texts().message
    ours, theirs = socket.socketpair()
    carrier = _Carrier(call.connection, ours, pack, unpack, takes_input=request.stdin)
    thread = threading.Thread(target=carrier.run, name="api-websocket", daemon=True)

    def accept() -> None:
        call.connection.answered = call.last = True
        with contextlib.suppress(Disconnected):  # the engine finds the stream at its end then
            call.connection.send(head)
        thread.start()

    try:
        with theirs:
            call.engine.container_attach(container.id, request, ClientStream(theirs.fileno(), b"", accept))
    finally:
        if thread.ident is None:
            ours.close()
        else:
            thread.join()


def _as_it_is(data: bytes) -> bytes:
    return data


class _Frames:
    """Takes Docker's multiplexed frames apart."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = 0

    def payloads(self, data: bytes) -> bytes:
        """What the frames in `data` carry, of either stream."""
        self._buffer += data
        found = bytearray()
        while self._buffer:
            if self._left:
                taken = min(self._left, len(self._buffer))
                found += self._buffer[:taken]
                del self._buffer[:taken]
                self._left -= taken
            elif len(self._buffer) >= 8:
                (self._left,) = struct.unpack_from(">I", self._buffer, 4)
                del self._buffer[:8]
            else:
                break
        return bytes(found)


class _Texts:
    """Messages of type text must be UTF-8, each of them."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def message(self, data: bytes) -> bytes:
        return data_frame(self._decoder.decode(data).encode(), text=True)


class _Carrier:
    """Moves bytes between a websocket client and the engine's socket until either ends."""

    def __init__(
        self,
        client: Connection,
        engine: socket.socket,
        pack: Callable[[bytes], bytes],
        unpack: Callable[[bytes], bytes],
        *,
        takes_input: bool,
    ) -> None:
        self._client, self._engine = client, engine
        self._pack, self._unpack = pack, unpack
        self._takes_input = takes_input
        self._decoder = Decoder()
        self._to_engine = bytearray()

    def run(self) -> None:
        """Until the container's stream or the client ends. A client that reads nothing for `Limits.write_timeout` is cut off."""
        self._engine.setblocking(False)
        self._client.set_write_timeout(None)
        try:
            code = self._carry()
        except (Closed, Disconnected) as end:
            code = end.code if isinstance(end, Closed) else 0
        self._engine.close()  # before the farewell: the container need not wait for it
        with contextlib.suppress(Disconnected):
            if code:
                self._client.send(close_frame(code))
                self._client.linger()  # for the client's own close frame, and what it still sends

    def _carry(self) -> int:
        """The status to close with. Errors: Closed, Disconnected."""
        self._take()  # what came with the request
        poll = select.poll()
        while True:
            # While the container takes no input, the client is not read either.
            poll.register(self._client.fileno(), 0 if self._to_engine else select.POLLIN)
            poll.register(self._engine.fileno(), select.POLLIN | (select.POLLOUT if self._to_engine else 0))
            for fd, events in poll.poll():
                if fd == self._engine.fileno():
                    if events & select.POLLOUT:
                        self._flush()
                    if events & ~select.POLLOUT and not self._give():
                        return NORMAL
                elif not self._receive(events):
                    return 0

    def _give(self) -> bool:
        """Output to the client; False when there will be no more."""
        try:
            data = self._engine.recv(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if shown := self._unpack(data):
            self._client.send(self._pack(shown))
        return bool(data)

    def _receive(self, events: int) -> bool:
        """Frames of the client; False when it left."""
        if not events & select.POLLIN:
            return False
        self._client.upload()  # each frame may take its time
        if not self._client.fill():
            return False
        self._take()
        return True

    def _take(self) -> None:
        data = bytes(self._client.buffer)
        self._client.buffer.clear()
        for kind, payload in self._decoder.feed(data):
            if kind == "ping":
                self._client.send(pong_frame(payload))
            elif self._takes_input:
                self._to_engine += payload
        self._flush()

    def _flush(self) -> None:
        try:
            sent = self._engine.send(self._to_engine) if self._to_engine else 0
        except BlockingIOError:
            return
        except OSError:  # it takes no more input; its output goes on
            self._to_engine.clear()
            self._takes_input = False
            return
        del self._to_engine[:sent]
