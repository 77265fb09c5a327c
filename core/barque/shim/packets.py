"""One JSON object a packet over SOCK_SEQPACKET, file descriptors beside it; both ends of every socket here.

Written on the bare calls, and with plain numbers where `socket` has enumerations: the pages a shim
touches here are its own from then on, and this is what keeps them few (see `launcher`).
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
from _socket import socketpair
from collections.abc import Iterable, Mapping, Sequence
from socket import SocketType
from typing import Any

from barque.shim.protocol import MAX_PACKET
from barque.spi.errors import BarqueError, Internal, InvalidArgument, ResourceExhausted

__all__ = [
    "bare_pair",
    "close_all",
    "decode",
    "encode",
    "error_reply",
    "pair",
    "read_payload",
    "receive",
    "receive_bytes",
    "send",
    "send_bytes",
    "write_payload",
]

MAX_FDS = 253
"""The kernel's SCM_MAX_FD."""

MAX_PAYLOAD = 16 * 1024 * 1024

_CONTROL_SIZE = socket.CMSG_SPACE(MAX_FDS * 4)
_RECEIVE = int(socket.MSG_CMSG_CLOEXEC)
_SEND = int(socket.MSG_NOSIGNAL)
_CONTROL_CUT = int(socket.MSG_CTRUNC)
_CUT = int(socket.MSG_TRUNC)
_SOL_SOCKET = int(socket.SOL_SOCKET)
_SCM_RIGHTS = int(socket.SCM_RIGHTS)
_UNIX = int(socket.AF_UNIX)
_SEQPACKET = int(socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)

_decoder = json.JSONDecoder()
_encoder = json.JSONEncoder(separators=(",", ":"))


def pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair of sockets for packets."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def bare_pair() -> tuple[SocketType, SocketType]:
    """`pair` without the library's wrappers."""
    return socketpair(_UNIX, _SEQPACKET, 0)


def send(sock: SocketType, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one packet. Raises OSError; BlockingIOError when `sock` is non-blocking and full."""
    send_bytes(sock, encode(message), fds)


def send_bytes(sock: SocketType, data: bytes, fds: Sequence[int] = ()) -> None:
    """`send` for what is encoded already."""
    if len(data) > MAX_PACKET:
        raise InvalidArgument(f"a message of {len(data)} bytes does not fit a packet of {MAX_PACKET}")
    if fds:
        rights = struct.pack(f"{len(fds)}i", *fds)
        sock.sendmsg([data], [(_SOL_SOCKET, _SCM_RIGHTS, rights)], _SEND)
    else:
        sock.send(data, _SEND)


def receive(sock: SocketType) -> tuple[dict[str, Any], list[int]] | None:
    """One packet with its descriptors (close-on-exec; the caller's to close), None at the end of the connection.

    Raises InvalidArgument for a packet that is no JSON object or too long, ResourceExhausted when
    descriptors got lost because this process has too many open, OSError as recvmsg(2).
    """
    received = receive_bytes(sock)
    if received is None:
        return None
    data, fds = received
    try:
        return decode(data), fds
    except BarqueError:
        close_all(fds)
        raise


def receive_bytes(sock: SocketType) -> tuple[bytes, list[int]] | None:
    """`receive` without decoding."""
    data, ancillary, flags, _ = sock.recvmsg(MAX_PACKET, _CONTROL_SIZE, _RECEIVE)
    fds: list[int] = []
    for level, kind, rights in ancillary:
        if level == _SOL_SOCKET and kind == _SCM_RIGHTS:
            fds += struct.unpack(f"{len(rights) // 4}i", rights[: len(rights) // 4 * 4])
    if flags & (_CONTROL_CUT | _CUT):
        close_all(fds)
        if flags & _CONTROL_CUT:
            raise ResourceExhausted(
                "too many open files", hint="raise the daemon's limit of open files (nofile)"
            )
        raise InvalidArgument(f"a packet is longer than {MAX_PACKET} bytes")
    return (data, fds) if data or fds else None


def encode(message: Mapping[str, Any]) -> bytes:
    """`message` as compact JSON."""
    return _encoder.encode(message).encode()


def decode(data: bytes) -> dict[str, Any]:
    """The JSON object that `data` begins with. Raises InvalidArgument."""
    try:
        message, _ = _decoder.raw_decode(data.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"a message is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise InvalidArgument("a message is not a JSON object")
    return message


def error_reply(error: BaseException) -> dict[str, Any]:
    """The reply that carries `error`; anything but a BarqueError becomes Internal with its class named."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        error = ResourceExhausted(str(error))
    elif not isinstance(error, BarqueError):
        error = Internal(f"{type(error).__name__}: {error}")
    wire = error.to_wire()
    wire["message"] = wire["message"][:8192]
    return {"error": wire}


def write_payload(document: Mapping[str, Any]) -> int:
    """A memfd that holds `document` as JSON; the caller closes it."""
    fd = os.memfd_create("barque-payload", os.MFD_CLOEXEC)
    try:
        data = memoryview(encode(document))
        while data:
            data = data[os.write(fd, data) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_payload(fd: int) -> dict[str, Any]:
    """The JSON object in memfd `fd`, which stays the caller's. Raises InvalidArgument."""
    size = os.fstat(fd).st_size
    if size > MAX_PAYLOAD:
        raise InvalidArgument(f"a payload of {size} bytes is more than {MAX_PAYLOAD}")
    return decode(os.pread(fd, size, 0))


def close_all(fds: Iterable[int]) -> None:
    """Close every descriptor of `fds`."""
    for fd in fds:
        os.close(fd)
