"""WebSocket (RFC 6455), the server's side: the handshake, frames of both directions, and a connection that carries a byte stream.

Only what a byte stream needs: no extensions, no subprotocols, messages of any number of frames. What the client sends is
untrusted: a frame without a mask, with reserved bits, of an unknown kind or beyond the limits ends the connection with the
status code that section 7.4.1 has for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from barque.spi.errors import InvalidArgument, PermissionDenied
from barque_api_docker.http import Request

__all__ = ["NORMAL", "Closed", "Decoder", "close_frame", "data_frame", "handshake", "pong_frame"]

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_DATA = (_CONTINUATION, _TEXT, _BINARY)
_CONTROL_LIMIT = 125
_FRAME_LIMIT = 1 << 20
_PROTOCOL_ERROR, _BAD_DATA, _TOO_BIG = 1002, 1007, 1009
NORMAL = 1000
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Closed(Exception):
    """The stream ends. `code` is what to say to the client, 0 for nothing."""

    def __init__(self, code: int = 0) -> None:
        super().__init__(f"websocket closed with {code}")
        self.code = code


def handshake(request: Request) -> bytes:
    """The head of the 101 answer (section 4.2.2). Errors: InvalidArgument, PermissionDenied (a page of another site asks)."""
    headers = request.headers
    if "websocket" not in _words(headers.get("upgrade", "")) or "upgrade" not in _words(
        headers.get("connection", "")
    ):
        raise InvalidArgument(
            "not a websocket request: it has no headers Upgrade: websocket, Connection: Upgrade"
        )
    if headers.get("sec-websocket-version") != "13":
        raise InvalidArgument("websocket version 13 is needed (Sec-WebSocket-Version)")
    key = headers.get("sec-websocket-key", "")
    if not _is_key(key):
        raise InvalidArgument("a websocket key of 16 bytes in base64 is needed (Sec-WebSocket-Key)")
    _check_origin(headers.get("origin", ""), headers.get("host", ""))
    return (
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {_accept(key)}\r\n\r\n"
    ).encode("ascii")


def _words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",")]


def _is_key(text: str) -> bool:
    import binascii

    try:
        return len(binascii.a2b_base64(text.encode("ascii"), strict_mode=True)) == 16
    except (ValueError, UnicodeEncodeError):
        return False


def _accept(key: str) -> str:
    from base64 import b64encode
    from hashlib import sha1

    return b64encode(sha1(key.encode("ascii") + _MAGIC, usedforsecurity=False).digest()).decode("ascii")


def _check_origin(origin: str, host: str) -> None:
    """No page of a browser may reach a container. Libraries send an origin, too: the URL they connect to.

    A name in it proves nothing (its owner may let it lead here for a moment), an address does."""
    if not origin:
        return
    place = origin.partition("://")[2]
    name = place if place.endswith("]") else place.rpartition(":")[0] or place
    if place != host or not (name in _LOCAL_NAMES or _is_address(name)):
        raise PermissionDenied("cross-origin requests are not allowed")


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def data_frame(data: bytes, *, text: bool = False) -> bytes:
    """One unfragmented message from the server, which does not mask."""
    return _head(_TEXT if text else _BINARY, len(data)) + data


def pong_frame(data: bytes) -> bytes:
    """The answer to a ping that carried `data`."""
    return _head(_PONG, len(data)) + data


def close_frame(code: int = NORMAL) -> bytes:
    """The last frame."""
    return _head(_CLOSE, 2) + struct.pack(">H", code)


def _head(kind: int, length: int) -> bytes:
    first = 0x80 | kind
    if length < 126:
        return struct.pack(">BB", first, length)
    if length < 1 << 16:
        return struct.pack(">BBH", first, 126, length)
    return struct.pack(">BBQ", first, 127, length)


class Decoder:
    """The client's frames. Feed it what arrives; it holds at most one frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_message = False

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """What is complete now: ("data", bytes of the stream), ("ping", bytes to give back). Errors: Closed."""
        self._buffer += data
        while (found := self._next()) is not None:
            kind, payload = found
            if kind in _DATA:
                yield "data", payload
            elif kind == _PING:
                yield "ping", payload
            elif kind == _CLOSE:
                raise Closed(_told_code(payload))

    def _next(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        kind, final, length = buffer[0] & 0x0F, bool(buffer[0] & 0x80), buffer[1] & 0x7F
        if buffer[0] & 0x70 or not buffer[1] & 0x80:
            raise Closed(_PROTOCOL_ERROR)
        self._check_order(kind, final, length)
        extended = {126: 2, 127: 8}.get(length, 0)
        begin = 2 + extended + 4
        if len(buffer) < begin:
            return None
        if extended:
            length = int.from_bytes(buffer[2 : 2 + extended], "big")
        if length > _FRAME_LIMIT:
            raise Closed(_TOO_BIG)
        if len(buffer) < begin + length:
            return None
        payload = _unmask(bytes(buffer[begin : begin + length]), bytes(buffer[begin - 4 : begin]))
        del buffer[: begin + length]
        if kind in _DATA:
            self._in_message = not final
        return kind, payload

    def _check_order(self, kind: int, final: bool, length: int) -> None:
        """Section 5.4 and 5.5: control frames are short and whole; a continuation continues, anything else begins."""
        if kind in _DATA:
            wrong = (kind == _CONTINUATION) != self._in_message
        else:
            wrong = kind not in (_CLOSE, _PING, _PONG) or not final or length > _CONTROL_LIMIT
        if wrong:
            raise Closed(_PROTOCOL_ERROR)


def _unmask(payload: bytes, mask: bytes) -> bytes:
    if not payload:
        return b""
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return mixed.to_bytes(len(payload), "big")


def _told_code(payload: bytes) -> int:
    """What to answer to a close frame: the code it brought, when it may bring that."""
    if not payload:
        return NORMAL
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (1000 <= code <= 1014 or 3000 <= code < 5000) or code in (1004, 1005, 1006):
        return _PROTOCOL_ERROR
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return _BAD_DATA
    return code
