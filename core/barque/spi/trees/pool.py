"""Worker processes, started when a job comes and kept warm for a few seconds."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from barque.spi.errors import BarqueError, Internal, ResourceExhausted, from_wire
from barque.spi.trees import interpreter
from barque.spi.trees.worker import MAX_PACKET

__all__ = ["WorkerPool"]


class WorkerPool:
    """At most `size` workers at a time, each doing one job of the job module `module`; further callers wait.

    `jail` is an empty directory, the workers' root. Workers end `idle_seconds` after their last job.
    """

    def __init__(self, module: str, size: int, idle_seconds: float, jail: str) -> None:
        self._module = module
        self._free = threading.BoundedSemaphore(size)
        self._idle_seconds = idle_seconds
        self._jail = jail
        self._lock = threading.Lock()
        self._idle: list[tuple[float, _Worker]] = []
        self._reaping = False

    def call(self, job: Mapping[str, Any], descriptors: Sequence[int], doing: str) -> Mapping[str, Any]:
        """Have a worker do `job`; its result. `descriptors` stay the caller's.

        Errors: the worker's own; Internal, which says `doing`, when the worker dies.
        """
        with self._free:
            worker = self._take()
            try:
                outcome = worker.call(job, descriptors, doing)
            except BaseException:
                worker.kill()
                raise
            self._give_back(worker)
        if isinstance(outcome, BarqueError):
            raise outcome
        return outcome

    def _take(self) -> _Worker:
        with self._lock:
            worker = self._idle.pop()[1] if self._idle else None
        if worker is not None and worker.alive():
            return worker
        if worker is not None:
            worker.kill()
        return _Worker(self._module, self._jail)

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            self._idle.append((time.monotonic(), worker))
            if not self._reaping:
                self._reaping = True
                threading.Thread(target=self._reap, name="tree-workers", daemon=True).start()

    def _reap(self) -> None:
        """End workers that have been idle for long enough; return when none is idle."""
        while True:
            with self._lock:
                deadline = time.monotonic() - self._idle_seconds
                expired = [worker for since, worker in self._idle if since <= deadline]
                self._idle = [(since, worker) for since, worker in self._idle if since > deadline]
                if not self._idle:
                    self._reaping = False
                pause = self._idle[0][0] - deadline if self._idle else 0.0
            for worker in expired:
                worker.kill()
            if not pause:
                return
            time.sleep(pause)


class _Worker:
    """One worker process and the socket to it."""

    def __init__(self, module: str, jail: str) -> None:
        command = interpreter.command(module)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*command, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    cwd=jail,
                    env={},
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise ResourceExhausted(f"cannot start a worker process: {error.strerror}") from error
        self._socket = ours

    def call(
        self, job: Mapping[str, Any], descriptors: Sequence[int], doing: str
    ) -> Mapping[str, Any] | BarqueError:
        """Do one job; an error that is returned came from a worker in good order. Errors: Internal."""
        try:
            socket.send_fds(self._socket, [json.dumps(job).encode()], descriptors)
            packet = self._socket.recv(MAX_PACKET)
        except OSError:
            packet = b""
        if not packet:
            raise Internal(f"{doing}: the worker process {self._end()}")
        reply: Mapping[str, Any] = json.loads(packet)
        if "error" in reply:
            return from_wire(reply["error"])
        return reply

    def alive(self) -> bool:
        """False when the process has ended while it was idle."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process, whatever it does. Idempotent."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _end(self) -> str:
        self._socket.close()
        code = self._process.wait()
        if code >= 0:
            return f"ended with status {code}"
        return f"was killed by signal {-code} ({signal.strsignal(-code)})"
