"""The line between the runtime and its child while that becomes a container process.

A SOCK_SEQPACKET pair, both ends close-on-exec: that the child executed its program shows as end of file. Packets of
the child: a letter and a payload. A request is answered by the parent with one packet.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair
from struct import pack, unpack_from

from barque.spi.errors import BarqueError, Internal, from_wire
from barque_runtime_native.jsontext import dumps, loads

SOCK_CLOEXEC = 0o2000000
MAX_PACKET = 1 << 16
MAP, HOOKS, CONSOLE, READY, ERROR = b"M", b"H", b"C", b"R", b"E"
# the stage between runtime and init asks for the ids of its user namespace
MAP_STAGE = b"U"
# init has its namespaces, and something is to be done to it from outside
OUTSIDE = b"O"
# a filter with a listener is being loaded: number of the listener's descriptor
LISTENER = b"L"
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

    def announce_listener(self, fd: int) -> None:
        """A filter with a listener comes next, and its descriptor will be `fd`."""
        self.end.send(LISTENER + str(fd).encode())

    def wait(self) -> None:
        """Wait for the parent's answer. Without one the parent is dead, and so is the container."""
        if not self.end.recv(MAX_PACKET):
            os._exit(1)

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


def descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """What came by SCM_RIGHTS."""
    return [
        unpack_from("=i", payload, offset)[0]
        for level, kind, payload in ancillary
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS)
        for offset in range(0, len(payload) - 3, 4)
    ]


class ParentEnd:
    """What the runtime holds."""

    def __init__(self, end: socket) -> None:
        self.end = end
        self.console: int | None = None
        self.payload = b""
        self.ready = False

    def next(self) -> bytes:
        """The next packet's letter, or empty at end of file; its payload is in `payload`, a console is kept.

        Errors: what the child tells. After READY the other end may be in the hands of the container's processes, so
        nothing but an error counts from then on.
        """
        while True:
            data, ancillary, _, _ = self.end.recvmsg(MAX_PACKET, 64, 0)
            letter, self.payload = data[:1], data[1:]
            passed = descriptors(ancillary)
            if letter == CONSOLE and len(passed) == 1 and not self.ready and self.console is None:
                self.console = passed[0]
                os.set_inheritable(self.console, False)
                continue
            for fd in passed:
                os.close(fd)
            if letter == ERROR:
                raise decode_error(self.payload)
            if self.ready and letter:
                raise Internal("the new process said something that was not due")
            self.ready = self.ready or letter == READY
            return letter

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
