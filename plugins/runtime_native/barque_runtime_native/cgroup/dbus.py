"""As much of D-Bus as it takes to ask systemd for a cgroup (D-Bus specification: "Message Protocol", "Type System").

Client side only, little-endian, no file descriptors. Loaded with `--systemd-cgroup` alone.
"""

from __future__ import annotations

import socket
import time
from struct import pack, unpack_from

from barque.spi.errors import (
    BarqueError,
    Conflict,
    FailedPrecondition,
    Internal,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from barque_runtime_native.cgroup.dbus_values import Reader, Writer, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CALL, REPLY, ERROR, SIGNAL = 1, 2, 3, 4
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SIGNATURE = 1, 2, 3, 4, 5, 6, 8
HEADER_TYPES = {PATH: "o", SIGNATURE: "g"}
MAX_MESSAGE = 1 << 24
SECONDS = 30.0
BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_CLASSES: dict[str, type[BarqueError]] = {
    "AccessDenied": PermissionDenied,
    "InteractiveAuthorizationRequired": PermissionDenied,
    "NoSuchUnit": NotFound,
    "UnitExists": Conflict,
    "ServiceUnknown": FailedPrecondition,
    "NameHasNoOwner": FailedPrecondition,
}


class Message:
    """One message, taken apart. `fields` is by the numbers of the specification."""

    def __init__(self, kind: int, fields: dict[int, Any], body: tuple[Any, ...], serial: int = 0) -> None:
        self.kind = kind
        self.fields = fields
        self.body = body
        self.serial = serial


def encode(message: Message, signature: str) -> bytes:
    """A message as bytes."""
    body = Writer()
    for kind, value in zip(split(signature), message.body, strict=True):
        body.put(kind, value)
    fields = {**message.fields, **({SIGNATURE: signature} if signature else {})}
    header = Writer()
    header.data += pack("<cBBBII", b"l", message.kind, 0, 1, len(body.data), message.serial)
    types = {**HEADER_TYPES, REPLY_SERIAL: "u"}
    header.put("a(yv)", [(code, (types.get(code, "s"), value)) for code, value in fields.items()])
    header.pad(8)
    return bytes(header.data + body.data)


class Connection:
    """A connection to a bus, or with `direct` to systemd itself. Errors: Unavailable when nobody answers in time."""

    def __init__(self, address: str, *, direct: bool = False) -> None:
        self.direct = direct
        self.serial = 0
        self.signals: list[Message] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self.socket.settimeout(SECONDS)
            self.socket.connect(address)
            self._authenticate()
            if not direct:
                self.call(BUS, "Hello")
        except BaseException:
            self.socket.close()
            raise

    def _authenticate(self) -> None:
        """SASL EXTERNAL without a name: the bus takes the socket's user, which a user namespace may call otherwise."""
        for line, answer in ((b"\0AUTH EXTERNAL\r\n", b"DATA"), (b"DATA\r\n", b"OK ")):
            self._send(line)
            if not self._line().startswith(answer):
                raise PermissionDenied("the D-Bus daemon does not accept this user")
        self._send(b"BEGIN\r\n")

    def _send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Unavailable(f"the D-Bus connection was closed: {error.strerror}") from error

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\r\n") and len(line) < 4096:
            line += self._receive(1)
        return line

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                part = self.socket.recv(size - len(data))
            except TimeoutError:
                raise Unavailable(f"systemd does not answer within {SECONDS:.0f} s") from None
            except OSError as error:
                raise Unavailable(f"the D-Bus connection was closed: {error.strerror}") from error
            if not part:
                raise Unavailable("the D-Bus connection was closed")
            data += part
        return data

    def call(
        self, target: tuple[str, str, str], member: str, signature: str = "", *values: Any
    ) -> tuple[Any, ...]:
        """Call a method of (destination, path, interface); returns the reply's values."""
        self.serial += 1
        destination, path, interface = target
        fields = {PATH: path, DESTINATION: destination, INTERFACE: interface, MEMBER: member}
        self._send(encode(Message(CALL, fields, values, self.serial), signature))
        while True:
            message = self.receive()
            if message.kind == SIGNAL:
                self.signals.append(message)
            elif message.fields.get(REPLY_SERIAL) == self.serial:
                break
        if message.kind == ERROR:
            name = str(message.fields.get(ERROR_NAME))
            text = message.body[0] if message.body and isinstance(message.body[0], str) else name
            raise _CLASSES.get(name.rpartition(".")[2], Internal)(f"systemd: {member}: {text}")
        return message.body

    def wait(self, member: str, wanted: Callable[[tuple[Any, ...]], bool]) -> tuple[Any, ...]:
        """The values of the first signal `member`, from the connection's beginning, that is `wanted`."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for message in self.signals:
                if message.fields.get(MEMBER) == member and wanted(message.body):
                    return message.body
            self.signals.clear()
            message = self.receive()
            if message.kind == SIGNAL:
                self.signals.append(message)
        raise Unavailable(f"systemd does not tell {member} within {SECONDS:.0f} s")

    def receive(self) -> Message:
        """The next message. Errors: Internal for what is none."""
        head = self._receive(16)
        order = {b"l": "<", b"B": ">"}.get(head[:1])
        try:
            if order is None:
                raise ValueError("not a D-Bus message: unknown byte order")
            length, serial, fields = unpack_from(order + "III", head, 4)
            if max(length, fields) > MAX_MESSAGE:
                raise ValueError("the D-Bus message is too long")
            head += self._receive(fields + -fields % 8)
            header = Reader(head, order)
            header.place = 12
            found = dict(header.get("a(yv)"))
            body = Reader(self._receive(length) if length else b"", order)
            return Message(
                head[1], found, tuple(body.get(each) for each in split(found.get(SIGNATURE, ""))), serial
            )
        except ValueError as problem:
            raise Internal(str(problem)) from problem

    def close(self) -> None:
        """Hang up."""
        self.socket.close()
