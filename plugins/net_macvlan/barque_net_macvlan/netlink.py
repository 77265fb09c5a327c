"""Route netlink, as much of it as the driver needs (netlink(7), rtnetlink(7)). A socket stays in the namespace it was opened in."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType

__all__ = [
    "CREATE",
    "DUMP",
    "EXCL",
    "REPLACE",
    "Channel",
    "attribute",
    "attributes",
    "nested",
    "number",
    "short",
    "text",
]

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400

_NETLINK_ROUTE = 0
_ERROR, _DONE = 2, 3
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_ATTR_MESSAGE = 1
_TYPE_MASK = 0x3FFF
_NESTED = 0x8000
_HEADER = struct.Struct("=IHHII")
_RECEIVE = 1 << 16


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(parts))


def number(kind: int, value: int) -> bytes:
    """A u32."""
    return attribute(kind, struct.pack("=I", value))


def short(kind: int, value: int) -> bytes:
    """A u16."""
    return attribute(kind, struct.pack("=H", value))


def text(kind: int, value: str) -> bytes:
    """A string."""
    return attribute(kind, value.encode() + b"\0")


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data` by type, up to a malformed one."""
    found: dict[int, bytes] = {}
    place = 0
    while place + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, place)
        if length < 4 or place + length > len(data):
            break
        found[kind & _TYPE_MASK] = data[place + 4 : place + length]
        place += (length + 3) & ~3
    return found


class Channel:
    """A route netlink socket of the calling thread's namespace; a context manager, for one thread."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        self._socket.bind((0, 0))
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def do(self, kind: int, flags: int, payload: bytes) -> None:
        """One request, acknowledged. Raises OSError with the kernel's own explanation where it gave one."""
        for _ in self._ask(kind, flags | ACK, payload):
            pass

    def ask(self, kind: int, flags: int, payload: bytes) -> list[bytes]:
        """The payloads of the answers to a request for information. Raises OSError."""
        return list(self._ask(kind, flags if flags & DUMP else flags | ACK, payload))

    def _ask(self, kind: int, flags: int, payload: bytes) -> Iterator[bytes]:
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(payload), kind, flags | REQUEST, self._sequence, 0)
        self._socket.send(header + payload)
        while True:
            for answer, content in self._messages():
                if answer == _ERROR:
                    _raise_refusal(content)
                    return
                if answer == _DONE:
                    return
                yield content

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        """(type, payload) of the messages in the next datagram that belong to the last request."""
        datagram = self._socket.recv(_RECEIVE)
        place = 0
        while place + _HEADER.size <= len(datagram):
            length, kind, _flags, sequence, _port = _HEADER.unpack_from(datagram, place)
            if length < _HEADER.size:
                return
            if sequence == self._sequence:
                yield kind, datagram[place + _HEADER.size : place + length]
            place += (length + 3) & ~3


def _raise_refusal(content: bytes) -> None:
    code = -int(struct.unpack_from("=i", content)[0])
    if code:
        why = attributes(content[4 + _HEADER.size :]).get(_ATTR_MESSAGE, b"").rstrip(b"\0")
        raise OSError(code, why.decode("utf-8", "replace") or os.strerror(code))
