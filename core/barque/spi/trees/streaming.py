"""A worker's output as a stream: through a pipe to a function of the caller's, in bounded memory."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from barque.spi.trees.pool import WorkerPool

__all__ = ["stream"]

_PIPE = 1 << 20


def stream(
    pool: WorkerPool,
    job: Mapping[str, Any],
    descriptors: Sequence[int],
    write: Callable[[bytes], object],
    doing: str,
) -> Mapping[str, Any]:
    """Have a worker do `job` with `descriptors` and, as the last one, a pipe; its result, after `write` got all of the pipe.

    What `write` raises ends the job (by EPIPE) and passes. Errors: the worker's, Internal when it dies: then `write` got a part.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    with suppress(OSError):  # an unprivileged user's pipes may have been cut to a page
        fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, _PIPE)
    call = _Call(pool, job, descriptors, write_fd, doing)
    call.start()
    try:
        while data := os.read(read_fd, _PIPE):
            write(data)
    finally:
        os.close(read_fd)
        call.join()
    return call.result()


class _Call(threading.Thread):
    """The call of the pool; it holds the pipe's write end until the worker is done, so that the end of the stream means that."""

    def __init__(
        self,
        pool: WorkerPool,
        job: Mapping[str, Any],
        descriptors: Sequence[int],
        write_fd: int,
        doing: str,
    ) -> None:
        super().__init__(name="tree-stream", daemon=True)
        self._pool = pool
        self._job = job
        self._descriptors = descriptors
        self._write_fd = write_fd
        self._doing = doing
        self._outcome: Mapping[str, Any] | BaseException = {}

    def run(self) -> None:
        try:
            self._outcome = self._pool.call(self._job, (*self._descriptors, self._write_fd), self._doing)
        except BaseException as error:  # noqa: BLE001 - raised again by `result`, in the thread that asks
            self._outcome = error
        finally:
            os.close(self._write_fd)

    def result(self) -> Mapping[str, Any]:
        """What the call returned or raised."""
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome
