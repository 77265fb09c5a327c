"""Runs what every shim runs once in the launcher, on nothing, before the first is forked.

CPython allocates and rewrites a good deal when code runs for the first time (caches in the code, keys of instance
dictionaries, libffi's closures). Done here those pages are shared by all shims; done there, each has its own copy.
It saves a shim a tenth of its memory, and its first event the time.
"""

from __future__ import annotations

import os
import signal

from barque.shim import packets
from barque.shim.container import Drivers, Running
from barque.shim.process import signal_pipe
from barque.shim.protocol import ShimConfig
from barque.shim.service import Service
from barque.shim.shim import rest
from barque.shim.worker import Answer, Worker

__all__ = ["rehearse"]


def rehearse(drivers: Drivers) -> None:
    """Go through the life of a shim that gets as far as a hello. Leaves no descriptor and no child."""
    pretence = _Pretence(next(iter(drivers.runtimes)))
    signals = signal_pipe()
    container = Running(*Worker(pretence, pretence.report).result())
    rest(0, [signals, container.control, container.listener, *container.streams])
    service = Service(drivers, container, signals)
    service.streams.start()
    service.server.announce({"event": "none"})
    packets.send(pretence.daemon, {"op": "hello"})
    rounds = iter((False, False, True))
    service.loop.run(lambda: next(rounds))
    os.close(signal.set_wakeup_fd(-1))  # first: a signal would be written into a pipe nobody reads
    service.close()
    pretence.daemon.close()


class _Pretence:
    """A worker's task as `BringUp` is one, without a container: a word of output, and a daemon's end to talk to."""

    def __init__(self, runtime: str) -> None:
        self._config = ShimConfig("", "/", "", "", (), runtime, "", {}, "", "")
        self.daemon, self._control = packets.pair()

    def report(self, error: Exception) -> None:
        """Nothing can go wrong here."""

    def __call__(self) -> Answer:
        """See `Running`; the listening socket is one that nobody connects to."""
        settings = packets.write_payload(self._config.settings())
        listener, _peer = packets.pair()
        output, process_end = os.pipe()
        os.write(process_end, b"word")
        fds = [self._control.detach(), settings, listener.detach(), output]
        return Running.text(os.getpid(), 1, False, 0, 0, "", ""), fds
