"""Output of a container without a terminal: frames of 8 bytes of head (stream, length) and the payload."""

from __future__ import annotations

import os
import select

from barque.cli.errors import DaemonUnavailable

__all__ = ["Demultiplexer", "write_all"]

_HEAD = 8
_STDIN, _STDOUT, _STDERR, _SYSTEM = range(4)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write everything, also to a descriptor that somebody made non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            poller.poll()


class Demultiplexer:
    """Takes the stream in pieces of any size and writes payloads to the two descriptors.

    Payloads for the same descriptor that came together are written together: one write per piece, not per line.
    A frame of the "system" stream is an error of the daemon: raised as DaemonUnavailable.
    """

    def __init__(self, stdout: int, stderr: int) -> None:
        self._targets = {_STDIN: stdout, _STDOUT: stdout, _STDERR: stderr, _SYSTEM: -1}
        self._head = b""
        self._left = 0
        self._target = stdout
        self._complaint = bytearray()

    def feed(self, piece: bytes) -> None:
        """Write the payload in `piece`."""
        view = memoryview(self._head + piece if self._head else piece)
        self._head = b""
        position, end = 0, len(view)
        ready: list[memoryview] = []
        while position < end:
            if not self._left:
                if end - position < _HEAD:
                    self._head = bytes(view[position:])
                    break
                target = self._open_frame(view, position)
                if target != self._target:
                    self._flush(ready)
                    self._target = target
                position += _HEAD
                continue
            step = min(self._left, end - position)
            ready.append(view[position : position + step])
            position += step
            self._left -= step
        self._flush(ready)

    def _open_frame(self, view: memoryview, position: int) -> int:
        stream = view[position]
        if stream not in self._targets:
            raise DaemonUnavailable(f"Unrecognized input header: {stream}")
        self._left = int.from_bytes(view[position + 4 : position + _HEAD], "big")
        return self._targets[stream]

    def _flush(self, ready: list[memoryview]) -> None:
        if not ready:
            return
        data: bytes | memoryview = ready[0] if len(ready) == 1 else b"".join(ready)
        ready.clear()
        if self._target >= 0:
            write_all(self._target, data)
            return
        self._complaint += data
        if not self._left or len(self._complaint) > 65536:
            raise DaemonUnavailable(
                f"error from daemon in stream: {self._complaint.decode('utf-8', 'replace').strip()}"
            )
