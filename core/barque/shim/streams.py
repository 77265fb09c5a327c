"""Between one process and those who watch it: output to log and clients, input from clients."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable

from barque.shim.clients import Client
from barque.shim.container_log import ContainerLog
from barque.shim.loop import Loop
from barque.shim.protocol import ClientAttach
from barque.shim.stdio import ProcessStdio

__all__ = ["Streams"]

_CHUNK = 64 * 1024
_INPUT_LIMIT = 64 * 1024
_REOPEN = 0.5
_HEADER = struct.Struct(">BxxxL")


class Streams:
    """The open streams of a process. `log` is None for an exec.

    With `stdin_once` the process's input ends with the first input client's, as without `-it` in
    Docker; a terminal's never does. `on_detach` is called when a client types the detach keys.
    """

    def __init__(
        self,
        loop: Loop,
        stdio: ProcessStdio,
        *,
        stdin_once: bool,
        log: ContainerLog | None = None,
        on_detach: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._stdio = stdio
        self._stdin_once = stdin_once and not stdio.terminal
        self._log = log
        self._on_detach = on_detach
        self._clients: list[Client] = []
        self._congested: set[Client] = set()
        self._input = bytearray()
        self._input_done = False
        self._running = True

    def start(self) -> None:
        """Read the process's output from now on, and its clients' input."""
        self._watch_outputs()
        for client in tuple(self._clients):
            client.start()

    def add(self, fd: int, attach: ClientAttach, *, start: bool) -> Client:
        """Attach the connection `fd`, which belongs to the client from now on; on an error it stays the caller's.

        Without `start` data flows after `Streams.start`, or the client's own. Raises InvalidArgument for bad detach keys.
        """
        sock = socket.socket(fileno=fd)
        try:
            client = Client(self._loop, sock, attach, self, self._stdio.terminal)
        except BaseException:
            sock.detach()
            raise
        self._clients.append(client)
        if start:
            client.start()
        return client

    def hold(self, client: Client) -> None:
        """Keep back what `client` is to get, until its `start`; first of all the beginning of a line that is not in the log yet."""
        client.hold()
        for stream in (1, 2):
            begun = self._log.unfinished(stream) if self._log is not None and client.wants(stream) else b""
            if begun:
                client.send(self._frame(stream, begun))

    def disown(self) -> None:
        """Forget clients that were added and not started, without a byte to them: the daemon answers them."""
        for client in self._clients:
            client.disown()
        self._clients.clear()

    def drain(self) -> None:
        """The process has ended: deliver what it wrote, and close. Never waits for others that hold its pipes."""
        self._running = False
        for fd, stream in tuple(self._stdio.outputs.items()):
            self._loop.forget(fd)
            while data := _read(fd):
                self._deliver(stream, data)
        self._drop_input()
        self._stdio.close()

    def finish(self) -> None:
        """Close every client as soon as it has all output."""
        for client in tuple(self._clients):
            client.finish()

    @property
    def idle(self) -> bool:
        """Whether no client is left."""
        return not self._clients

    # ClientOwner

    def feed(self, data: bytes) -> None:
        """Input for the process; dropped when it takes none (any more)."""
        if self._stdio.stdin is None or self._input_done:
            return
        self._input += data
        self._write_input()

    def input_ended(self) -> None:
        """With `stdin_once` the process's input ends, after what is queued."""
        if self._stdin_once and self._running:
            self._input_done = True
            self._write_input()

    def accepts_input(self) -> bool:
        """Whether less than 64 KiB wait for the process."""
        return len(self._input) < _INPUT_LIMIT

    def congested(self, client: Client, full: bool) -> None:
        """Stop reading from the process while a client is full."""
        if full:
            self._congested.add(client)
            for fd in self._stdio.outputs:
                self._loop.forget(fd)
        else:
            self._congested.discard(client)
            if not self._congested:
                self._watch_outputs()

    def is_shared(self) -> bool:
        """Whether more than one client is attached."""
        return len(self._clients) > 1

    def detached(self) -> None:
        """A client typed the detach keys."""
        self._on_detach()

    def gone(self, client: Client) -> None:
        """The client has closed."""
        self._clients.remove(client)

    # output

    def _watch_outputs(self) -> None:
        if self._running and not self._congested:
            for fd, stream in self._stdio.outputs.items():
                self._loop.watch(fd, select.EPOLLIN, self._reader(fd, stream))

    def _reader(self, fd: int, stream: int) -> Callable[[int], None]:
        def ready(_: int) -> None:
            data = _read(fd)
            if data:
                self._deliver(stream, data)
            elif data is not None:
                self._output_ended(fd)

        return ready

    def _output_ended(self, fd: int) -> None:
        self._loop.forget(fd)
        if self._stdio.terminal:
            # Nobody has the terminal open just now; a process of the container may open it again.
            self._loop.later(_REOPEN, self._watch_outputs)
        else:
            self._stdio.close_output(fd)

    def _deliver(self, stream: int, data: bytes) -> None:
        if self._log is not None:
            self._log.write(stream, data)
        if not self._clients:
            return
        frame = self._frame(stream, data)
        for client in tuple(self._clients):
            if client.wants(stream):
                client.send(frame)

    def _frame(self, stream: int, data: bytes) -> bytes:
        return data if self._stdio.terminal else _HEADER.pack(stream, len(data)) + data

    # input

    def _write_input(self) -> None:
        fd = self._stdio.stdin
        if fd is None:
            return
        try:
            while self._input:
                del self._input[: os.write(fd, self._input[:_CHUNK])]
        except BlockingIOError:
            self._loop.watch(fd, select.EPOLLOUT, self._input_ready)
            self._update_clients()
            return
        except OSError:  # the process has closed its end
            self._drop_input()
        self._loop.forget(fd)
        if self._input_done:
            self._stdio.close_stdin()
        self._update_clients()

    def _input_ready(self, _: int) -> None:
        self._write_input()

    def _drop_input(self) -> None:
        self._input_done = True
        self._input.clear()
        if self._stdio.stdin is not None:
            self._loop.forget(self._stdio.stdin)
            self._stdio.close_stdin()

    def _update_clients(self) -> None:
        for client in self._clients:
            client.update()


def _read(fd: int) -> bytes | None:
    """A chunk; empty at the end (EIO is a pty nobody has open), None when there is nothing now."""
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""
