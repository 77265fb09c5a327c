"""An attached session: the user's stdin, stdout and stderr on one side, the daemon's raw connection on the other."""

from __future__ import annotations

import contextlib
import os
import select
import socket

from barque.cli.demux import Demultiplexer, write_all
from barque.cli.errors import DaemonUnavailable
from barque.cli.signals import Signals
from barque.cli.terminal import DetachKeys

__all__ = ["Session", "await_readable"]

_PIECE = 128 * 1024


class Session:
    """Carries bytes both ways until the daemon ends the stream, or the user detaches.

    One thread polls. The socket is never written blockingly: a container that does not read its stdin while we do not
    read its stdout would stop both for ever. `stdin` None: nothing is sent. `detach` is watched for on a terminal.
    `while_read`: the session ends too when nobody is left who reads `stdout`, a pipe or a socket.
    """

    def __init__(
        self,
        sock: socket.socket,
        rest: bytes,
        *,
        multiplexed: bool,
        stdin: int | None,
        detach: DetachKeys | None = None,
        stdout: int = 1,
        stderr: int = 2,
        while_read: bool = False,
    ) -> None:
        self._sock = sock
        self._stdin = stdin
        self._detach = detach
        self._while_read = while_read
        self._stdout = stdout
        self._output = Demultiplexer(stdout, stderr) if multiplexed else None
        self._pending = memoryview(b"")
        self._input_open = stdin is not None
        if rest:
            self._show(rest)

    def run(self, signals: Signals) -> bool:
        """True when the stream ended, False when the user detached. The socket is closed either way."""
        self._sock.setblocking(False)
        try:
            return self._loop(signals)
        finally:
            self._sock.close()

    def _loop(self, signals: Signals) -> bool:
        while True:
            poller = select.poll()
            poller.register(signals, select.POLLIN)
            poller.register(self._sock, select.POLLIN | (select.POLLOUT if self._pending else 0))
            if self._while_read:
                poller.register(self._stdout, 0)  # hang-ups and errors are always told
            reading = self._input_open and not self._pending
            if reading and self._stdin is not None:
                poller.register(self._stdin, select.POLLIN)
            changed = False
            while not changed:
                for fd, happened in poller.poll():
                    if fd == signals.fileno():
                        signals.handle()
                    elif self._while_read and fd == self._stdout:
                        return True
                    elif fd == self._stdin and fd != self._sock.fileno():
                        if not self._read_input():
                            return False
                        changed = True
                    else:
                        if happened & select.POLLOUT:
                            self._send()
                            changed = True
                        if happened & ~select.POLLOUT and not self._receive():
                            return True

    def _receive(self) -> bool:
        try:
            piece = self._sock.recv(_PIECE)
        except BlockingIOError:
            return True
        except OSError as error:
            raise DaemonUnavailable(f"the connection to the daemon broke: {error.strerror}") from error
        if piece:
            self._show(piece)
        return bool(piece)

    def _show(self, piece: bytes) -> None:
        if self._output is not None:
            self._output.feed(piece)
        else:
            write_all(self._stdout, piece)

    def _read_input(self) -> bool:
        """Take what was typed; False when the user detached."""
        try:
            typed = os.read(self._stdin or 0, _PIECE)
        except BlockingIOError:
            return True
        except OSError:
            # A terminal that hung up reads as EIO.
            typed = b""
        if not typed:
            self._end_input()
            return True
        detached = False
        if self._detach is not None:
            typed, detached = self._detach.feed(typed)
        self._pending = memoryview(typed)
        self._send()
        return not detached

    def _send(self) -> None:
        while self._pending:
            try:
                self._pending = self._pending[self._sock.send(self._pending) :]
            except BlockingIOError:
                return
            except OSError:
                # The process closed its stdin or ended: its output is still to come.
                self._pending = memoryview(b"")
                self._input_open = False

    def _end_input(self) -> None:
        self._input_open = False
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)


def await_readable(sock: socket.socket, signals: Signals) -> None:
    """Wait until there is something to read, handling signals meanwhile."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    poller.register(signals, select.POLLIN)
    while True:
        for fd, _ in poller.poll():
            if fd != signals.fileno():
                return
            signals.handle()
