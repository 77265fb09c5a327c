"""TLS connections: each becomes an ordinary socket, which all the rest of the server can work with, or hand to a shim.

A thread stands between the client and one end of a socketpair. Loaded for listeners with TLS only.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import time
from typing import Any

from barque.spi.errors import FailedPrecondition
from barque.spi.frontend import Tls
from barque_api_docker.limits import Limits

__all__ = ["HandshakeFailed", "Terminator", "Tunnel"]

_CHUNK = 64 << 10
_HANDSHAKE_RECORD = b"\x16"  # RFC 8446 5.1
_IN_CLEAR = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"Client sent an HTTP request to an HTTPS server.\n"
)
_LINGER_SECONDS = 1.0
_GONE = select.POLLERR | select.POLLHUP


class HandshakeFailed(Exception):
    """The client cannot be let in; the message says why."""


class Terminator:
    """The server's side of handshakes for one listener."""

    def __init__(self, tls: Tls, limits: Limits) -> None:
        """Errors: FailedPrecondition for certificates that cannot be used."""
        self._limits = limits
        self._context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(tls.certificate, tls.key)
            if tls.ca:
                context.load_verify_locations(tls.ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:
            files = ", ".join(filter(None, (tls.certificate, tls.key, tls.ca)))
            raise FailedPrecondition(
                f"the certificates for TLS cannot be used: {error}", hint=f"see {files}"
            ) from error

    def handshake(self, client: socket.socket) -> Tunnel:
        """Take `client` over. Raises HandshakeFailed, after `client` was closed; takes at most `Limits.head_timeout` seconds."""
        client.settimeout(self._limits.head_timeout)
        try:
            if client.recv(1, socket.MSG_PEEK) not in (_HANDSHAKE_RECORD, b""):
                client.sendall(_IN_CLEAR)
                client.shutdown(socket.SHUT_WR)
                client.recv(_CHUNK)  # closing with unread bytes would reset the connection
                raise HandshakeFailed("the client does not speak TLS")
            secure = self._context.wrap_socket(
                client, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
            )
        except OSError as error:
            client.close()
            raise HandshakeFailed(str(error)) from error
        except HandshakeFailed:
            client.close()
            raise
        try:
            secure.do_handshake()
            return Tunnel(secure, _common_name(secure), self._limits.write_timeout)
        except OSError as error:  # also SSLError and the timeout
            with contextlib.suppress(OSError):
                _say_no_more(
                    secure
                )  # with TLS 1.3 the client has sent its request already, and is to read why not
            secure.close()
            raise HandshakeFailed(str(error)) from error


def _common_name(secure: ssl.SSLSocket) -> str:
    """Of the client's certificate, if it had to show one."""
    subject: Any = (secure.getpeercert() or {}).get("subject", ())
    return next((pair[1] for part in subject for pair in part if pair[0] == "commonName"), "")


class Tunnel:
    """A connected client. `inner` is the end for the server, `user` the common name of the certificate it showed."""

    def __init__(self, secure: ssl.SSLSocket, user: str, patience: float) -> None:
        self.user = user
        self.inner, self._outer = socket.socketpair()
        self._secure = secure
        self._patience = patience
        self._inbound = bytearray()
        self._outbound = bytearray()
        self._client_writes = self._server_writes = True
        self._wants = 0  # what TLS waits for on the client's socket, beside what we wait for
        self._left = (
            False  # the server has closed its end: nothing more comes from there than what is on its way
        )
        self._give_up = 0.0

    def run(self) -> None:
        """Carry bytes until both sides are done, and close both. An end of the client's stream (close_notify) is passed on as
        one, so a terminal's or a pipe's input can end before its output; a cut is passed on as a cut."""
        self._secure.setblocking(False)
        self._outer.setblocking(False)
        try:
            while self._server_writes or self._outbound:
                moved = self._inward() | self._outward()
                if not moved and not self._wait():
                    break
            self._finish()
        except OSError:  # either side was cut
            pass
        finally:
            with contextlib.suppress(OSError):
                self._outer.shutdown(socket.SHUT_RDWR)
            self._outer.close()
            self._secure.close()

    def _inward(self) -> bool:
        """From the client to the server, one chunk. True when something moved."""
        moved = False
        if self._client_writes and not self._inbound:
            try:
                data = self._secure.recv(_CHUNK)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                self._note(error)
            else:
                moved = True
                self._inbound += data
                if not data:
                    self._client_writes = False
                    self._outer.shutdown(socket.SHUT_WR)
        if self._inbound:
            moved |= self._pass_inward()
        return moved

    def _pass_inward(self) -> bool:
        try:
            del self._inbound[: self._outer.send(self._inbound)]
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):  # the server has answered and hears no more
            self._inbound.clear()
            self._client_writes = False
        return True

    def _outward(self) -> bool:
        """From the server to the client, one chunk. True when something moved."""
        moved = False
        if self._server_writes and not self._outbound:
            with contextlib.suppress(BlockingIOError):
                try:
                    data = self._outer.recv(_CHUNK)
                except ConnectionResetError:  # closed with something of the client's unread
                    data = b""
                moved = True
                self._outbound += data
                self._server_writes = bool(data)
        if self._outbound:
            try:
                del self._outbound[: self._secure.send(self._outbound)]
                moved = True
                self._give_up = 0.0
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                self._note(error)
        return moved

    def _note(self, error: ssl.SSLError) -> None:
        self._wants |= select.POLLOUT if isinstance(error, ssl.SSLWantWriteError) else select.POLLIN

    def _wait(self) -> bool:
        """Until something may move; False when the client left, or takes nothing of a last answer."""
        poll = select.poll()
        poll.register(self._secure, self._wants)
        inner = select.POLLOUT if self._inbound else 0
        inner |= select.POLLIN if self._server_writes and not self._outbound else 0
        if inner or not self._left:  # a hang-up is told again and again, whatever one waits for
            poll.register(self._outer, inner)
        self._wants = 0
        timeout = None
        if self._left or not self._server_writes:
            self._give_up = self._give_up or time.monotonic() + self._patience
            timeout = max(0.0, self._give_up - time.monotonic()) * 1000
        events = dict(poll.poll(timeout))
        self._left |= bool(events.get(self._outer.fileno(), 0) & select.POLLHUP)
        gone = events.get(self._secure.fileno(), 0) & _GONE
        return bool(events) and not (gone and (self._inbound or not self._client_writes))

    def _finish(self) -> None:
        with contextlib.suppress(OSError):
            self._secure.unwrap()
        _say_no_more(self._secure)


def _say_no_more(secure: ssl.SSLSocket) -> None:
    """End our side and let the client read what is on its way: closing with unread bytes would reset the connection."""
    raw = socket.socket(fileno=os.dup(secure.fileno()))  # below TLS
    with raw:
        raw.shutdown(socket.SHUT_WR)
        poll = select.poll()
        poll.register(raw, select.POLLIN)
        deadline = time.monotonic() + _LINGER_SECONDS
        while (left := deadline - time.monotonic()) > 0 and poll.poll(left * 1000):
            if not raw.recv(_CHUNK):
                return
