"""A websocket client for tests: RFC 6455 written down a second time, from the client's side."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
from types import TracebackType

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT", "WebSocket"]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocket:
    """Connects on creation: `status` and `headers` are the answer's; `body` is what came of one that is not 101.

    `headers` of the request: `Sec_WebSocket_Key` and so on, None to leave one out."""

    def __init__(self, path: str | os.PathLike[str], target: str, **headers: str | None) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(os.fspath(path))
        self.key = base64.b64encode(os.urandom(16)).decode()
        given: dict[str, str | None] = {
            "Host": "docker",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": self.key,
            "Sec-WebSocket-Version": "13",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value is not None)
        self.socket.sendall(f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode())
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        pairs = (line.partition(":") for line in rest)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        self.body = b""
        if self.status != 101:
            self.body = self._take(int(self.headers["content-length"]))

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    @property
    def accepted(self) -> bool:
        """Whether the answer proves that the server read the key."""
        expected = base64.b64encode(hashlib.sha1(self.key.encode() + _MAGIC).digest()).decode()
        return self.status == 101 and self.headers.get("sec-websocket-accept") == expected

    def send(
        self, data: bytes, kind: int = BINARY, *, final: bool = True, masked: bool = True, reserved: int = 0
    ) -> None:
        """One frame."""
        mask = os.urandom(4)
        first, bit, length = final << 7 | reserved << 4 | kind, masked << 7, len(data)
        if length < 126:
            head = struct.pack(">BB", first, bit | length)
        elif length < 1 << 16:
            head = struct.pack(">BBH", first, bit | 126, length)
        else:
            head = struct.pack(">BBQ", first, bit | 127, length)
        body = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data)) if masked else data
        self.socket.sendall(head + (mask if masked else b"") + body)

    def receive(self) -> tuple[int, bytes] | None:
        """Kind and payload of the next frame; None at the end of the connection."""
        try:
            first, second = self._take(2)
            assert not second & 0x80, "a server must not mask"
            length = second & 0x7F
            if length > 125:
                length = int.from_bytes(self._take(2 if length == 126 else 8), "big")
            return first & 0x0F, self._take(length)
        except EOFError:
            return None

    def messages(self) -> tuple[bytes, int | None]:
        """The data of all frames until the close, and its code; None when the connection ended without one."""
        data = b""
        while (frame := self.receive()) is not None:
            kind, payload = frame
            if kind == CLOSE:
                return data, int.from_bytes(payload[:2], "big")
            if kind in (TEXT, BINARY):
                data += payload
        return data, None

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._receive()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _receive(self) -> None:
        try:
            more = self.socket.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            raise EOFError
        self._buffer += more
