"""Runs what is not the shim's own work, above all the runtime driver's hooks, in a short-lived child.

A hook reads, imports, mounts and allocates; done in the shim itself it would stay in the shim's memory for
the container's life. It may enter namespaces, too, or break. In a worker all that ends with the hook. What
it started is reparented to the shim, the subreaper, when the worker exits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from socket import SocketType
from typing import NoReturn

from barque.shim import kernel, packets
from barque.spi.errors import BarqueError, Internal, from_wire

__all__ = ["Answer", "Worker", "answer", "result"]

Answer = tuple[bytes, list[int]]
"""What a worker hands back: a short text, and descriptors."""

_DONE = b"+"


class Worker:
    """A child that computes `task()`; to be asked for its `result` exactly once.

    `report` is told, in the child, of an exception that is not meant for a user. The worker itself is reaped with
    all other children of the shim, unless it is waited for.
    """

    def __init__(self, task: Callable[[], Answer], report: Callable[[Exception], None]) -> None:
        self._socket, theirs = packets.bare_pair()
        self._pid = os.fork()
        if self._pid == 0:
            self._socket.close()
            _work(task, theirs, report)
        theirs.close()

    def wait(self) -> None:
        """Wait until it has ended, and with it its mount namespace; once, after `result`, before others are reaped."""
        os.waitpid(self._pid, 0)

    def result(self) -> Answer:
        """Wait for the task. Raises what it raised, Internal for anything but a BarqueError."""
        try:
            return result(self._socket)
        finally:
            self._socket.close()


def result(line: SocketType) -> Answer:
    """What a worker says on its `line`. Raises what its task raised, Internal for anything but a BarqueError."""
    received = packets.receive_bytes(line)
    if received is None:
        raise Internal("a runtime driver ended its process", hint="see the kernel's log")
    data, fds = received
    if data[:1] != _DONE:
        raise from_wire(packets.decode(data)["error"])
    return data[1:], fds


def _work(task: Callable[[], Answer], shim: SocketType, report: Callable[[Exception], None]) -> NoReturn:
    kernel.set_death_signal()  # without its shim nobody would take what the driver starts
    answer(task, shim, report)


def answer(task: Callable[[], Answer], shim: SocketType, report: Callable[[Exception], None]) -> NoReturn:
    """In a worker: do `task`, tell the shim, end."""
    try:
        text, fds = task()
        packets.send_bytes(shim, _DONE + text, fds)
    except Exception as error:  # noqa: BLE001 - carried over to the shim; the process ends here
        if not isinstance(error, BarqueError):
            report(error)
        packets.send(shim, packets.error_reply(error))
    finally:
        os._exit(0)
