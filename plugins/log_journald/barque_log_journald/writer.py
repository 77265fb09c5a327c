"""The writer that the shim holds: lines to entries of the host's journal."""

from __future__ import annotations

import array
import errno
import os
import select
import socket
from contextlib import suppress

from barque.spi.log import LogSpec
from barque_log_journald.entries import PRIORITIES, encode, fields
from barque_log_journald.lines import Lines

__all__ = ["JournalWriter"]

_PATIENCE_MS = 500


class JournalWriter:
    """The open log of one container (`barque.spi.log.LogWriter`). `path`: the journal's socket.

    A journal that takes nothing is given half a second, once until it takes something again; `waits`: at all.
    """

    def __init__(self, path: str, spec: LogSpec, waits: bool) -> None:
        self._path, self._waits = path, waits
        self._patient = True
        self._fields = fields(spec)
        self._lines = {stream: Lines() for stream in PRIORITIES}
        self._time_ns = 0
        self._socket: socket.socket | None = None

    def write(self, stream: str, data: bytes, time_ns: int) -> None:
        """Send the lines that are complete with `data`. Raises OSError for what is lost."""
        self._time_ns = time_ns
        self._send_all(stream, self._lines[stream].feed(data))

    def close(self) -> None:
        """Send what waits for its newline, and close. Idempotent."""
        try:
            for stream, lines in self._lines.items():
                self._send_all(stream, lines.flush())
        finally:
            self._drop()

    def _send_all(self, stream: str, found: list[tuple[bytes, bool]]) -> None:
        failure: OSError | None = None
        for text, partial in found:
            try:
                self._send(encode(self._fields, stream, text, partial, self._time_ns))
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure

    def _send(self, entry: bytes) -> None:
        sock = self._connected()
        try:
            try:
                sock.send(entry)
            except BlockingIOError:
                if not (self._waits and self._patient and _writable(sock)):
                    self._patient = False
                    raise OSError(
                        errno.ENOBUFS, "the journal does not take entries as fast as they come"
                    ) from None
                sock.send(entry)
            self._patient = True
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                _send_file(sock, entry)
                return
            if error.errno not in (errno.ENOBUFS, errno.EAGAIN):
                self._drop()  # the journal was restarted: the next entry connects again
            raise

    def _connected(self) -> socket.socket:
        if self._socket is None:
            sock = socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
            try:
                sock.connect(self._path)
            except FileNotFoundError as error:
                sock.close()
                raise FileNotFoundError(
                    error.errno, "journald is not enabled on this host: there is no", self._path
                ) from None
            except OSError:
                sock.close()
                raise
            self._socket = sock
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
            self._socket = None


def _writable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(_PATIENCE_MS))


def _send_file(sock: socket.socket, entry: bytes) -> None:
    """An entry that no datagram has room for goes in a sealed file, as the protocol has it."""
    import fcntl

    fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, entry)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        sock.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]).tobytes())])
    finally:
        os.close(fd)
