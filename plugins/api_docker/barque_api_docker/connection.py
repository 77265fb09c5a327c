"""One client's connection: receives requests, sends answers, and knows whether the client is still there."""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import struct
import termios
import time

from barque_api_docker.http import (
    MAX_HEAD,
    MAX_REQUEST_LINE,
    ProtocolError,
    Request,
    Response,
    Source,
    parse_head,
    status_line,
)
from barque_api_docker.limits import Limits

__all__ = ["Connection", "Disconnected"]

_GONE = select.POLLHUP | select.POLLRDHUP | select.POLLERR
_RECEIVE = 32 << 10
_RECEIVE_UPLOAD = 256 << 10
_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 8 << 20


class Disconnected(Exception):
    """The client left, or stays silent or deaf for longer than allowed. There is nobody to answer."""


class Connection(Source):
    """A blocking socket with a receive buffer. The descriptor stays in blocking mode: it may be handed to a shim."""

    def __init__(self, sock: socket.socket, limits: Limits, user: str | None = None) -> None:
        """`user`: whom the client has shown to be, by its certificate; None: the kernel knows, if anybody."""
        self._socket = sock
        self._user = user
        self._first = True
        self._limits = limits
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN | select.POLLRDHUP)
        self._deadline = 0.0
        self._rolling = False
        self.buffer = bytearray()
        self.switched = False
        self.answered = False
        self.aborted = False
        self.set_write_timeout(None)

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def user(self) -> str:
        """Who asks: the common name of a certificate, or `uid:N` of a local client; empty for nobody one knows."""
        if self._user is None:
            self._user = f"uid:{_peer_uid(self._socket)}" if self._socket.family == socket.AF_UNIX else ""
        return self._user

    @property
    def open_to_browsers(self) -> bool:
        """Whether a browser could be at the other end without showing a certificate: TCP in clear."""
        return self._socket.family != socket.AF_UNIX

    def read_request(self) -> Request | None:
        """The next request, its body still unread; None when the client closed or stayed idle. Errors: ProtocolError, Disconnected."""
        self.answered = self._rolling = False
        if not self.buffer and not self._await_first_byte():
            return None
        self._deadline = time.monotonic() + self._limits.head_timeout
        searched = 0
        while True:
            while self.buffer.startswith(b"\r\n"):  # RFC 9112 2.2: tolerate empty lines before a request
                del self.buffer[:2]
                searched = 0
            end = self.buffer.find(b"\r\n\r\n", searched)
            if 0 <= end <= MAX_HEAD:
                break
            self._check_head_size()
            searched = max(0, len(self.buffer) - 3)
            if not self.fill():
                return None
        head = bytes(self.buffer[: end + 4])
        del self.buffer[: end + 4]
        if head.find(b"\r\n") > MAX_REQUEST_LINE:
            raise ProtocolError(414, "the request line is too long")
        self._deadline = time.monotonic() + self._limits.head_timeout
        return parse_head(head, self)

    def _await_first_byte(self) -> bool:
        patience = min(self._limits.first_timeout, self._limits.idle_timeout)
        self._deadline = time.monotonic() + (patience if self._first else self._limits.idle_timeout)
        self._first = False
        with contextlib.suppress(Disconnected):
            return self.fill()
        return False

    def _check_head_size(self) -> None:
        if len(self.buffer) > MAX_REQUEST_LINE and b"\r\n" not in self.buffer:
            raise ProtocolError(414, "the request line is too long")
        if len(self.buffer) > MAX_HEAD:
            raise ProtocolError(431, "the request's head is larger than 64 KiB")

    def upload(self) -> None:
        """The body may take as long as it likes, as long as it goes on."""
        self._rolling = True

    def fill(self) -> bool:
        if self._rolling:
            self._deadline = time.monotonic() + self._limits.head_timeout
        left = self._deadline - time.monotonic()
        if left <= 0 or not self._poll.poll(left * 1000):
            raise Disconnected("the client did not finish its request in time")
        try:
            data = self._socket.recv(_RECEIVE_UPLOAD if self._rolling else _RECEIVE)
        except OSError as error:
            raise Disconnected(str(error)) from error
        self.buffer += data
        return bool(data)

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:  # also EAGAIN: SO_SNDTIMEO ran out
            raise Disconnected(str(error)) from error

    def respond(self, response: Response, common: str, *, head_only: bool, close: bool) -> None:
        """Send a complete answer."""
        extra = "".join(f"{name}: {value}\r\n" for name, value in response.headers)
        if response.status not in (204, 304):
            extra += f"Content-Length: {len(response.body)}\r\n"
        if close:
            extra += "Connection: close\r\n"
        kind = response.content_type if response.body else None
        head = status_line(response.status, common, kind, extra)
        self.answered = True
        self.send(head if head_only else head + response.body)

    def await_read(self, seconds: float) -> None:
        """Give a local client up to `seconds` to take from the socket what was sent so far."""
        if (
            self._socket.family != socket.AF_UNIX
        ):  # elsewhere the kernel knows what arrived, not what was read
            return
        deadline = time.monotonic() + seconds
        while fcntl.ioctl(self._socket, termios.TIOCOUTQ, b"\0\0\0\0") != b"\0\0\0\0":
            if time.monotonic() > deadline or self.gone():
                return
            time.sleep(0.0001)

    def set_write_timeout(self, seconds: float | None) -> None:
        """How long the client may leave what we send unread; 0: for ever, None: `Limits.write_timeout`."""
        seconds = self._limits.write_timeout if seconds is None else seconds
        whole = int(seconds)
        timeval = struct.pack("ll", whole, int((seconds - whole) * 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)

    def gone(self) -> bool:
        """True when the client closed its end, or the server stops."""
        poll = (
            select.poll()
        )  # a new one: several threads of the engine ask, and a poll object serves one at a time
        poll.register(self._socket.fileno(), select.POLLRDHUP)
        return self.aborted or any(event & _GONE for _, event in poll.poll(0))

    def stop(self) -> None:
        """Take no further request, and let streams end; an answer in the making can still be sent."""
        self.aborted = True
        if not self.switched:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)

    def abort(self) -> None:
        """End the connection from another thread: whoever reads or writes it fails at once."""
        self.aborted = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def linger(self) -> None:
        """Let the client read an answer we gave before its request ended: closing with unread bytes would reset the connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + _LINGER_SECONDS
            seen = 0
            while (
                seen < _LINGER_BYTES
                and (left := deadline - time.monotonic()) > 0
                and self._poll.poll(left * 1000)
            ):
                data = self._socket.recv(_RECEIVE)
                if not data:
                    return
                seen += len(data)

    def close(self) -> None:
        """Close our descriptor, without shutdown: a shim may hold the connection by one of its own."""
        self._socket.close()


def _peer_uid(sock: socket.socket) -> int:
    """unix(7), SO_PEERCRED: the client's user when it connected."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])
