"""Sockets of a syslog server's, by the scheme of its address."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import Any

from barque_log_syslog.options import Settings

__all__ = ["connect", "datagrams"]

_HANDSHAKE_SECONDS = 3.0


def datagrams(settings: Settings) -> bool:
    """Whether each message is a datagram."""
    return settings.scheme in ("unixgram", "udp")


def connect(settings: Settings) -> socket.socket:
    """A non-blocking socket, perhaps still connecting. Raises OSError."""
    if settings.scheme == "tcp+tls":
        return _tls(settings)
    if settings.scheme in ("unix", "unixgram"):
        kind = socket.SOCK_STREAM if settings.scheme == "unix" else socket.SOCK_DGRAM
        return _begun(socket.socket(socket.AF_UNIX, kind), settings.host)
    kind = socket.SOCK_DGRAM if settings.scheme == "udp" else socket.SOCK_STREAM
    family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=kind)[0]
    return _begun(socket.socket(family, kind, protocol), address)


def _begun(sock: socket.socket, address: str | tuple[Any, ...]) -> socket.socket:
    sock.setblocking(False)
    try:
        with suppress(BlockingIOError):
            sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def _tls(settings: Settings) -> socket.socket:
    """Raises ssl.SSLError, which is an OSError."""
    import ssl

    options = settings.tls
    context = ssl.create_default_context(cafile=options.get("syslog-tls-ca-cert") or None)
    if "syslog-tls-skip-verify" in options:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.get("syslog-tls-cert"):
        context.load_cert_chain(options["syslog-tls-cert"], options.get("syslog-tls-key") or None)
    plain = socket.create_connection((settings.host, settings.port), _HANDSHAKE_SECONDS)
    try:
        wrapped = _Encrypted(context.wrap_socket(plain, server_hostname=settings.host))
    except OSError:
        plain.close()
        raise
    return wrapped


class _Encrypted(socket.socket):
    """A TLS connection whose "not now" is a BlockingIOError, as any socket's."""

    def __init__(self, tls: socket.socket) -> None:
        super().__init__(fileno=tls.fileno())
        self._tls = tls
        tls.setblocking(False)

    def send(self, data: bytes, flags: int = 0) -> int:  # type: ignore[override]
        """See socket.send. A message that was not taken must be offered again as it was."""
        import ssl

        try:
            return self._tls.send(data, flags)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            raise BlockingIOError(errno.EAGAIN, "not now") from None

    def close(self) -> None:
        """Close the connection."""
        self.detach()
        self._tls.close()
