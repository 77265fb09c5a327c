"""A worker that is ready before the next exec comes, for containers in which one exec follows another.

What an exec mostly waits for is a fork, and the page faults of the forked: a worker that was forked and has gone through an
exec on nothing has them behind it. It holds no descriptor but its line to the shim, so nobody waits for an end of file
that does not come.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from socket import SocketType
from typing import Any, NoReturn

from barque.shim import kernel, packets
from barque.shim.protocol import MAX_PACKET
from barque.shim.worker import Answer, answer, result
from barque.spi.runtime import Stdio

__all__ = ["LARGEST", "SpareWorker"]

LARGEST = MAX_PACKET // 2
"""Bytes of a process that a spare worker takes."""

_LAST = 1 << 30

Exec = Callable[[Mapping[str, Any], Stdio | None], Answer]


class SpareWorker:
    """A child that waits for one process to start; then as `Worker`."""

    def __init__(self, prepare: Callable[[], None], run: Exec, report: Callable[[Exception], None]) -> None:
        self._socket, theirs = packets.bare_pair()
        if os.fork() == 0:
            _wait(prepare, run, theirs, report)
        theirs.close()

    def start(self, process: bytes, stdio: Stdio | None) -> Answer:
        """Let it start `process` (JSON). Raises as `Worker.result`; ConnectionError when it had gone and has started nothing."""
        fds = (stdio.stdin, stdio.stdout, stdio.stderr) if stdio else ()
        try:
            packets.send_bytes(self._socket, process, fds)
            return result(self._socket)
        finally:
            self._socket.close()

    def close(self) -> None:
        """It is not needed."""
        self._socket.close()


def _wait(
    prepare: Callable[[], None], run: Exec, line: SocketType, report: Callable[[Exception], None]
) -> NoReturn:
    try:
        signal.set_wakeup_fd(
            -1
        )  # first: its number will be a stream of the process's, into which signals would be written
        os.closerange(3, line.fileno())
        os.closerange(line.fileno() + 1, _LAST)
        kernel.set_death_signal()
        prepare()
        received = packets.receive_bytes(line)
    except Exception:  # noqa: BLE001 - whatever it was: the shim finds the line closed, and forks a worker that will tell it
        os._exit(0)
    if received is None:
        os._exit(0)
    process, fds = received
    answer(lambda: run(packets.decode(process), Stdio(*fds) if fds else None), line, report)
