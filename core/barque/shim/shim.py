"""The shim: one single-threaded process a container, its parent and the keeper of its streams.

It is forked from the launcher before it is needed, has a worker bring a container up, and then rests: as long as the container is
silent and no daemon asks, a shim is a few descriptors and hardly a page of its own (see `launcher`).
The first event makes it a `Service`.
"""

from __future__ import annotations

import gc
import os
import select
from collections.abc import Sequence
from socket import SocketType

from barque.shim.container import BringUp, Drivers, Running
from barque.shim.process import Title, signal_pipe
from barque.shim.reaper import reap
from barque.shim.service import Service
from barque.shim.worker import Worker
from barque.spi.errors import BarqueError

__all__ = ["rest", "run"]


def run(drivers: Drivers, title: Title, launches: SocketType) -> None:
    """Be a shim, in a process that has just been forked: wait for the launch that comes on `launches`, to the end."""
    signals = signal_pipe()
    task = BringUp(drivers, launches)
    worker = Worker(task, task.report)
    launches.close()
    try:
        container = Running(*worker.result())
    except BarqueError:
        return  # no launch has come, or the worker has told the daemon why it failed
    worker.wait()  # or its hold on the mounted root could outlast the container
    title.set(b"barque-shim " + container.id)
    ended = None
    if not container.clients and not container.busy:
        sockets = [container.control, container.listener, *container.resolver[:2]]
        ended = rest(container.pid, [signals, *sockets, *container.streams], container.memory)
    gc.enable()
    Service(drivers, container, signals).serve(ended)


def rest(init: int, descriptors: list[int], memory: Sequence[int] = ()) -> int | None:
    """Wait until one of `descriptors` is ready, `memory` has news (see `memory_watch`) or `init` has ended; then its code is the result.

    The first descriptor is the signals': an ended worker or orphan does not wake the shim up.
    """
    signals = descriptors[0]
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    for fd in memory:
        poll.register(
            fd, select.POLLPRI if os.readlink(f"/proc/self/fd/{fd}").startswith("/") else select.POLLIN
        )
    while True:
        for pid, code in reap():
            if pid == init:
                return code
        ready = poll.poll()
        if ready[0][0] != signals or len(ready) > 1:
            return None
        os.read(signals, 4096)
