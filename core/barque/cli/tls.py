"""TLS for what expects a plain socket: a thread carries the bytes between one and the protected connection.

Python's own protected socket cannot be polled, nor closed for writing only, as attached sessions must: the end of the
user's input is the protocol's close_notify, after which the container's output still comes (RFC 8446, 6.1).
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

from barque.cli.errors import CliError, DaemonUnavailable
from barque.cli.host import Address
from barque.cli.tls_settings import Tls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["protect"]

_PIECE = 64 * 1024
_PENDING = 256 * 1024
_HANDSHAKE_SECONDS = 30.0
_OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


def protect(raw: socket.socket, address: Address, settings: Tls) -> socket.socket:
    """A socket whose bytes go through TLS over `raw`, which is its property now.

    Raises DaemonUnavailable when the daemon is not who it should be, CliError for files of no use."""
    try:
        connection = _Connection(raw, _context(settings), address.host)
        raw.settimeout(_HANDSHAKE_SECONDS)
        connection.handshake()
    except (OSError, ValueError) as error:
        raw.close()
        raise _refused(address, error) from error
    except CliError:
        raw.close()
        raise
    outer, inner = socket.socketpair()
    plain = _Plain(fileno=outer.detach())
    threading.Thread(target=_carry, args=(connection, inner, plain), name="tls", daemon=True).start()
    return plain


def _refused(address: Address, error: Exception) -> DaemonUnavailable:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"tls: failed to verify certificate: {error.verify_message}"
        hint = (
            "use a name or address that is in the certificate"
            if error.verify_code in _OTHER_NAME
            else "name the authority that signed it by --tlscacert"
        )
    elif isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        why, hint = (
            "tls: first record does not look like a TLS handshake",
            "does the daemon listen there with TLS?",
        )
    else:
        why, hint = f"tls: {error}", ""
    return DaemonUnavailable(f"error during connect: {address.url}: {why}", hint=hint)


def _context(settings: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    file = settings.ca
    try:
        if settings.verify and settings.ca:
            context.load_verify_locations(settings.ca)
        elif settings.verify:
            context.load_default_certs()
        file = settings.cert
        if settings.cert or settings.key:
            context.load_cert_chain(settings.cert, settings.key or None, password=_no_password)
    except OSError as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise CliError(f"could not read the certificate or key: {file}: {reason or error}") from error
    return context


def _no_password() -> str:
    raise CliError(
        "the private key is encrypted, which is not supported", hint="decrypt it: openssl pkey -in KEY"
    )


class _Plain(socket.socket):
    """The end that the command line sees. `failure` is why the other one ended early."""

    failure = ""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        try:
            piece = super().recv(size, flags)
        except ConnectionResetError:  # what we sent was not taken
            piece = b""
        if not piece and self.failure:
            raise OSError(self.failure)
        return piece

    def sendall(self, data: Buffer, flags: int = 0, /) -> None:
        try:
            super().sendall(data, flags)
        except OSError as error:
            raise OSError(self.failure or error.strerror) from error


class _Connection:
    """The protocol over a raw socket: what is to be sent waits in `out`, what came and was deciphered in `plain`."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self.raw = raw
        self._received, self._sending = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._sending, server_hostname=name)
        self.out = bytearray()
        self.plain = bytearray()
        self.ended = False

    def handshake(self) -> None:
        """Blocking. Raises OSError, of which ssl.SSLError is one."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.raw.sendall(self._sending.read())
                if not (piece := self.raw.recv(_PIECE)):
                    raise ConnectionError("the daemon closed the connection during the handshake") from None
                self._received.write(piece)
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self.raw.sendall(self._sending.read())  # the alert
                raise
            else:
                self.raw.sendall(self._sending.read())
                return

    def receive(self) -> None:
        """Take what came on the raw socket, which is readable. Raises OSError, of which ssl.SSLError is one."""
        if piece := self.raw.recv(_PIECE):
            self._received.write(piece)
            self.decipher()
        else:
            self.ended = True

    def transmit(self) -> None:
        """Send of `out` what the raw socket takes. Raises OSError; the other side's reason, when it gave one."""
        try:
            del self.out[: self.raw.send(self.out)]
        except OSError:
            self.receive()
            raise

    def decipher(self) -> None:
        """Make `plain` of what came. Raises ssl.SSLError."""
        try:
            while data := self._tls.read(_PIECE):
                self.plain += data
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self.ended = True
        self.out += self._sending.read()

    def send(self, piece: bytes) -> None:
        """Encipher; nothing means that no more will be sent."""
        if piece:
            self._tls.write(piece)
        else:
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
        self.out += self._sending.read()


def _carry(connection: _Connection, inner: socket.socket, plain: _Plain) -> None:
    try:
        connection.raw.setblocking(False)
        inner.setblocking(False)
        connection.decipher()
        reading: bool | None = True
        while reading is not None and not (connection.ended and not connection.plain):
            reading = _step(connection, inner, reading)
    except ssl.SSLError as error:
        plain.failure = f"tls: {(error.reason or str(error)).lower().replace('_', ' ')}"
    except OSError as error:
        plain.failure = f"tls: {error.strerror}"
    finally:
        inner.close()
        connection.raw.close()


def _step(connection: _Connection, inner: socket.socket, reading: bool) -> bool | None:
    """Wait and carry once, each way as far as the other takes it; whether `inner` is still to be read, None: it left."""
    raw = connection.raw
    from_raw = not connection.ended and len(connection.plain) <= _PENDING
    from_inner = reading and len(connection.out) <= _PENDING
    poller = select.poll()
    if from_raw or connection.out:
        poller.register(raw, select.POLLIN * from_raw | select.POLLOUT * bool(connection.out))
    poller.register(inner, select.POLLIN * from_inner | select.POLLOUT * bool(connection.plain))
    for fd, happened in poller.poll():
        ready = bool(happened & ~select.POLLOUT)
        if fd == raw.fileno():
            if happened & select.POLLOUT:
                connection.transmit()
            if ready and from_raw:
                connection.receive()
            elif ready:
                connection.out.clear()  # nobody takes it any more
        else:
            if happened & select.POLLOUT:
                del connection.plain[: inner.send(connection.plain)]
            if ready and from_inner:
                piece = inner.recv(_PIECE)
                reading = bool(piece)
                connection.send(piece)
            elif ready and not reading:
                return None
    return reading
