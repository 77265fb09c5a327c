"""The line between the runtime and its child while that becomes a container process.

A SOCK_SEQPACKET pair, both ends close-on-exec: that the child executed its program shows as end of file. Packets of
the child: a letter and a payload. A request is answered by the parent with one packet.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair
from struct import pack, unpack

from barque.spi.errors import BarqueError, Internal, from_wire
from barque_runtime_native.jsontext import dumps, loads

SOCK_CLOEXEC = 0o2000000
MAX_PACKET = 1 << 16
MAP, HOOKS, CONSOLE, READY, ERROR = b"M", b"H", b"C", b"R", b"E"
MAX_MESSAGE = 4096


def encode_error(error: BarqueError) -> bytes:
    """As JSON, short enough for one packet and for one atomic write to a FIFO (PIPE_BUF)."""
    document = error.to_wire()
    document["message"] = document["message"][:1000]
    document["hint"] = document["hint"][:200]
    data = dumps(document)
    return (
        data
        if len(data) <= MAX_MESSAGE
        else dumps({**document, "message": document["message"][:150], "hint": ""})
    )


def decode_error(data: bytes) -> BarqueError:
    """The inverse."""
    try:
        document = loads(data)
    except ValueError:
        return Internal("the container's init sent no readable error")
    return from_wire(document if isinstance(document, dict) else {})


class ChildEnd:
    """What the child holds."""

    def __init__(self, end: socket) -> None:
        self.end = end

    @property
    def fd(self) -> int:
        """The descriptor."""
        return self.end.fileno()

    def request(self, letter: bytes) -> bytes:
        """Ask the parent and wait. Without an answer the parent is dead, and so is the container."""
        try:
            self.end.send(letter)
            answer = self.end.recv(MAX_PACKET)
        except ConnectionError:
            answer = b""
        if not answer:
            os._exit(1)
        return answer

    def send_console(self, master: int) -> None:
        """Hand over the terminal's master side."""
        self.end.sendmsg([CONSOLE], [(SOL_SOCKET, SCM_RIGHTS, pack("=i", master))])

    def ready(self) -> None:
        """All that can be prepared is."""
        self.end.send(READY)

    def fail(self, error: BarqueError) -> None:
        """Tell why there will be no container."""
        self.end.send(ERROR + encode_error(error))

    def close(self) -> None:
        """Close it."""
        self.end.close()


class ParentEnd:
    """What the runtime holds."""

    def __init__(self, end: socket) -> None:
        self.end = end
        self.console: int | None = None

    def next(self) -> bytes:
        """The next packet's letter, or empty at end of file; a console is kept. Errors: what the child tells."""
        while True:
            data, ancillary, _, _ = self.end.recvmsg(MAX_PACKET, 64, 0)
            letter = data[:1]
            if letter == ERROR:
                raise decode_error(data[1:])
            if letter != CONSOLE:
                return letter
            for level, kind, payload in ancillary:
                if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
                    self.console = unpack("=i", payload[:4])[0]
                    os.set_inheritable(self.console, False)

    def answer(self, payload: bytes = b"+") -> None:
        """Answer a request."""
        self.end.send(payload)

    def close(self) -> None:
        """Close the line, and the console unless `take_console` has."""
        self.end.close()
        if self.console is not None:
            os.close(self.console)
            self.console = None

    def take_console(self) -> int | None:
        """The terminal's master side, now the caller's."""
        console, self.console = self.console, None
        return console


def make_channel() -> tuple[ParentEnd, ChildEnd]:
    """A new line."""
    parent, child = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    return ParentEnd(parent), ChildEnd(child)
