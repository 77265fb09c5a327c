"""Netlink: attributes, requests, acknowledgements, dumps (netlink(7)).

One `NetlinkSocket` belongs to the network namespace of the thread that opened it, for ever: a socket opened in
a sandbox works there whatever thread uses it. That is why nothing here needs to switch namespaces.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = [
    "NETLINK_NETFILTER",
    "NETLINK_ROUTE",
    "NLM_F_CREATE",
    "NLM_F_DUMP",
    "NLM_F_EXCL",
    "NLM_F_REPLACE",
    "Message",
    "NetlinkError",
    "NetlinkSocket",
    "Request",
    "attribute",
    "attributes",
    "messages",
    "nested",
    "text",
]

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_ACK_TLVS = 0x200
NLM_F_CAPPED = 0x100
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

NLMSG_ERROR = 2
NLMSG_DONE = 3

SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12
NLMSGERR_ATTR_MSG = 1

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_RECEIVE = 1 << 16
SO_RCVBUFFORCE = 33
_LISTENER_BUFFER = 8 << 20  # bytes; a limit: memory is used for what waits to be read


class Request(NamedTuple):
    """One message to send: type, flags beyond NLM_F_REQUEST, family header with attributes."""

    type: int
    flags: int
    payload: bytes


class Message(NamedTuple):
    """One message received: type, sequence number, payload behind the netlink header."""

    type: int
    sequence: int
    payload: memoryview


class NetlinkError(OSError):
    """The kernel refused a request. `strerror` is its own explanation where it gave one."""


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = 4 + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + b"\0" * (-length % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """A string attribute, NUL-terminated as the kernel wants it."""
    return attribute(kind, value.encode() + b"\0")


def attributes(data: memoryview) -> dict[int, memoryview]:
    """The attributes in `data` by type. A malformed tail ends the walk, as in the kernel's own parser."""
    found: dict[int, memoryview] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > len(data):
            break
        found[kind & NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def messages(datagram: bytes) -> Iterator[Message]:
    """The messages in one datagram."""
    view = memoryview(datagram)
    offset = 0
    while offset + _HEADER.size <= len(view):
        length, kind, _flags, sequence, _port = _HEADER.unpack_from(view, offset)
        if length < _HEADER.size or offset + length > len(view):
            break
        yield Message(kind, sequence, view[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


class NetlinkSocket:
    """A netlink socket of one namespace. Thread-safe: a request and its answer are one critical section."""

    def __init__(self, protocol: int, groups: Sequence[int] = ()) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._lock = threading.Lock()
        self._sequence = 0
        self._socket.bind((0, sum(1 << (group - 1) for group in groups)))
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        if groups:  # what is not read in time is lost
            with contextlib.suppress(PermissionError):  # an ordinary user's daemon keeps the usual limit
                self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _LISTENER_BUFFER)

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def fileno(self) -> int:
        """The descriptor, for poll(2)."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()

    def filter_strictly(self) -> None:
        """Have the kernel (4.20 and newer) leave out of a dump what its header does not ask for."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)

    def receive(self) -> bytes:
        """One datagram of a multicast group. OSError(ENOBUFS): the kernel dropped some."""
        return self._socket.recv(_RECEIVE)

    def do(self, *requests: Request) -> None:
        """Send the requests in one system call and wait for every acknowledgement.

        The kernel handles them in order and does not stop at an error; the first one is raised at the end.
        """
        with self._lock:
            first = self._sequence + 1
            self._send(requests, NLM_F_ACK)
            failure: NetlinkError | None = None
            while self._sequence >= first:
                for message in messages(self._socket.recv(_RECEIVE)):
                    if message.type != NLMSG_ERROR or message.sequence < first:
                        continue
                    failure = failure or _failure(message.payload)
                    first += 1
            if failure is not None:
                raise failure

    def get(self, request: Request) -> Message:
        """Send a request that is answered with one message."""
        with self._lock:
            self._send((request,), 0)
            while True:
                for message in messages(self._socket.recv(_RECEIVE)):
                    if message.sequence != self._sequence:
                        continue
                    if message.type == NLMSG_ERROR and (failure := _failure(message.payload)):
                        raise failure
                    return message

    def dump(self, request: Request) -> list[Message]:
        """Every message of a dump. The kernel may mark a dump as inconsistent when the tables changed meanwhile;
        callers look for the presence of things and tolerate that."""
        with self._lock:
            self._send((request,), NLM_F_DUMP)
            found: list[Message] = []
            while True:
                for message in messages(self._socket.recv(_RECEIVE)):
                    if message.sequence != self._sequence:
                        continue
                    if message.type == NLMSG_DONE:
                        return found
                    if message.type == NLMSG_ERROR and (failure := _failure(message.payload)):
                        raise failure
                    found.append(message)

    def _send(self, requests: Sequence[Request], flags: int) -> None:
        parts: list[bytes] = []
        for request in requests:
            self._sequence += 1
            length = _HEADER.size + len(request.payload)
            header = _HEADER.pack(
                length, request.type, request.flags | flags | NLM_F_REQUEST, self._sequence, 0
            )
            parts += (header, request.payload, b"\0" * (-length % 4))
        self._socket.send(b"".join(parts))


def _failure(payload: memoryview) -> NetlinkError | None:
    """The error in an NLMSG_ERROR message, None when it is an acknowledgement.

    NETLINK_CAP_ACK cuts the echoed request to its header, so extended attributes follow at a fixed offset.
    """
    code = -int(struct.unpack_from("=i", payload)[0])
    if code == 0:
        return None
    explanation = attributes(payload[4 + _HEADER.size :]).get(NLMSGERR_ATTR_MSG)
    reason = bytes(explanation).rstrip(b"\0").decode("utf-8", "replace") if explanation else os.strerror(code)
    return NetlinkError(code, reason)
