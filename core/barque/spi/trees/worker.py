"""The processes that work on hostile trees and tars: `python -I -S -E` with a job module's `main`, started and fed by `pool`.

Decompressing, hashing and walking would hold the daemon's GIL and put hostile bytes through it. A worker receives
descriptors only (a blob, a directory to fill, a pipe) and has an empty directory as its root.

One SOCK_SEQPACKET socket, one JSON object a packet: a job and its descriptors come in, the result or `{"error": …}`
goes out. The worker ends at once when the daemon's end closes, also in the middle of a job.

A job module has `run(job, descriptors) -> result` (JSON objects) and `def main(argument): serve(run, argument)`.
It imports all it needs at its head: after `serve` began there is nothing left to import from.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from barque.spi.errors import BarqueError, Internal, ResourceExhausted

__all__ = ["MAX_DESCRIPTORS", "MAX_PACKET", "Run", "serve"]

MAX_PACKET = 65536
MAX_DESCRIPTORS = 16
_MAX_MEMORY = 1536 << 20  # of address space: a zstd window, a few thread arenas, and two million directories

Run = Callable[[Mapping[str, Any], Sequence[int]], Mapping[str, Any]]


def serve(run: Run, argument: str) -> None:
    """Serve jobs on the socket with the descriptor `argument` until the daemon is gone."""
    socket_fd = int(argument)
    connection = socket.socket(fileno=socket_fd)
    _isolate()
    threading.Thread(target=_exit_with_daemon, args=(socket_fd,), daemon=True).start()
    while True:
        packet, descriptors, _flags, _address = socket.recv_fds(connection, MAX_PACKET, MAX_DESCRIPTORS)
        if not packet:
            os._exit(0)
        try:
            reply = _answer(run, json.loads(packet), descriptors)
        finally:
            for fd in descriptors:
                os.close(fd)
        connection.send(json.dumps(reply).encode())


def _answer(run: Run, job: Mapping[str, Any], descriptors: Sequence[int]) -> Mapping[str, Any]:
    try:
        return run(job, descriptors)
    except BarqueError as error:
        return {"error": error.to_wire()}
    except MemoryError:
        return {"error": ResourceExhausted("a worker process needs too much memory").to_wire()}
    except Exception as error:  # noqa: BLE001 - the boundary of the process: the daemon gets the cause, the worker lives on
        return {"error": Internal(f"a worker process failed: {type(error).__name__}: {error}").to_wire()}


def _isolate() -> None:
    """Make the working directory, which is empty, this process's root. Modes come from tars, so no umask."""
    os.umask(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's ^C is for the daemon to handle
    gc.disable()  # nothing here makes cycles to speak of, and a worker lives for seconds
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0:
        os.chroot(".")


def _exit_with_daemon(socket_fd: int) -> None:
    """PR_SET_PDEATHSIG would follow the thread that started us, not the daemon: wait for its end of the socket to close."""
    poll = select.poll()
    poll.register(socket_fd, select.POLLRDHUP)
    poll.poll()
    os._exit(1)
