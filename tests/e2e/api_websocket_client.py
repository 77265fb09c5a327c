"""A websocket client for tests: RFC 6455 written down a second time, from the client's side."""

import base64
import hashlib
import os
import socket
import struct

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocket:
    """Connects on creation: `status` and `headers` are the answer's; `body` what came of one that is no 101."""

    def __init__(self, path, target, **headers):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.key = base64.b64encode(os.urandom(16)).decode()
        given = {
            "Host": "docker", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": self.key,
            "Sec-WebSocket-Version": "13", **{name.replace("_", "-"): value for name, value in headers.items()},
        }  # fmt: skip
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value is not None)
        self.socket.sendall(f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode())
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        self.body = b""
        if self.status != 101:
            while len(self._buffer) < int(self.headers["content-length"]):
                self._receive()
            self.body = self._buffer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    @property
    def accepts(self):
        """Whether the answer proves that the server read the key."""
        expected = base64.b64encode(hashlib.sha1(self.key.encode() + _MAGIC).digest()).decode()
        return self.headers.get("sec-websocket-accept") == expected

    def send(self, data, kind=BINARY, *, final=True, masked=True, reserved=0):
        mask = os.urandom(4)
        head = bytes([final << 7 | reserved << 4 | kind])
        length, bit = len(data), masked << 7
        if length < 126:
            head += bytes([bit | length])
        elif length < 1 << 16:
            head += bytes([bit | 126]) + struct.pack(">H", length)
        else:
            head += bytes([bit | 127]) + struct.pack(">Q", length)
        body = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data)) if masked else data
        self.socket.sendall(head + (mask if masked else b"") + body)

    def receive(self):
        """(kind, payload) of the next frame; None at the end of the connection."""
        try:
            first, second = self._take(2)
            length = second & 0x7F
            assert not second & 0x80, "a server must not mask"
            if length > 125:
                length = int.from_bytes(self._take(2 if length == 126 else 8), "big")
            return first & 0x0F, self._take(length)
        except EOFError:
            return None

    def messages(self):
        """The data of all frames until the close, and the code of that."""
        data = b""
        while (frame := self.receive()) is not None:
            kind, payload = frame
            if kind == CLOSE:
                return data, int.from_bytes(payload[:2], "big")
            if kind in (TEXT, BINARY):
                data += payload
        return data, None

    def _take(self, count):
        while len(self._buffer) < count:
            self._receive()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _receive(self):
        more = self.socket.recv(65536)
        if not more:
            raise EOFError
        self._buffer += more
