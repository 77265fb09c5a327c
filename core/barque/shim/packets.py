"""One JSON object a packet over SOCK_SEQPACKET, file descriptors beside it; both ends of every socket here."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from barque.shim.protocol import MAX_PACKET
from barque.spi.errors import BarqueError, Internal, InvalidArgument, ResourceExhausted

__all__ = ["MAX_FDS", "close_all", "error_reply", "read_payload", "receive", "send", "write_payload"]

MAX_FDS = 253
"""The kernel's SCM_MAX_FD."""

MAX_PAYLOAD = 16 * 1024 * 1024

_RECEIVE = socket.MSG_CMSG_CLOEXEC
_SEND = socket.MSG_NOSIGNAL


def send(sock: socket.socket, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one packet. Raises OSError; BlockingIOError when `sock` is non-blocking and full."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MAX_PACKET:
        raise InvalidArgument(f"a message of {len(data)} bytes does not fit a packet of {MAX_PACKET}")
    if fds:
        socket.send_fds(sock, [data], list(fds), _SEND)
    else:
        sock.send(data, _SEND)


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """One packet with its descriptors (close-on-exec; the caller's to close), None at the end of the connection.

    Raises InvalidArgument for a packet that is no JSON object or too long, ResourceExhausted when
    descriptors got lost because this process has too many open, OSError as recvmsg(2).
    """
    data, fds, flags, _ = socket.recv_fds(sock, MAX_PACKET, MAX_FDS, _RECEIVE)
    if not data and not fds:
        return None
    try:
        return _parse(data, flags), fds
    except BarqueError:
        close_all(fds)
        raise


def _parse(data: bytes, flags: int) -> dict[str, Any]:
    if flags & socket.MSG_CTRUNC:
        raise ResourceExhausted("too many open files", hint="raise the daemon's limit of open files (nofile)")
    if flags & socket.MSG_TRUNC:
        raise InvalidArgument(f"a packet is longer than {MAX_PACKET} bytes")
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"a packet is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise InvalidArgument("a packet is not a JSON object")
    return message


def error_reply(error: BaseException) -> dict[str, Any]:
    """The reply that carries `error`; anything but a BarqueError becomes Internal with its class named."""
    if not isinstance(error, BarqueError):
        error = Internal(f"{type(error).__name__}: {error}")
    wire = error.to_wire()
    wire["message"] = wire["message"][:8192]
    return {"error": wire}


def write_payload(document: Mapping[str, Any]) -> int:
    """A memfd that holds `document` as JSON; the caller closes it."""
    fd = os.memfd_create("barque-payload", os.MFD_CLOEXEC)
    try:
        data = memoryview(json.dumps(document, separators=(",", ":")).encode())
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
    try:
        document = json.loads(os.pread(fd, size, 0))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"a payload is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidArgument("a payload is not a JSON object")
    return document


def close_all(fds: Iterable[int]) -> None:
    """Close every descriptor of `fds`."""
    for fd in fds:
        os.close(fd)
