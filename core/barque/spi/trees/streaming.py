"""A worker's output or input as a stream: through a pipe to a function, or from an iterator, of the caller's; in bounded memory."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from barque.spi.trees.pool import WorkerPool

__all__ = ["feed", "stream"]

_PIPE = 1 << 20
_GATHER = 256 << 10
_MAX_PARTS = 1000  # IOV_MAX is 1024


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
    read_fd, write_fd = _pipe()
    call = _Call(pool, job, descriptors, write_fd, doing)
    call.start()
    try:
        while data := os.read(read_fd, _PIPE):
            write(data)
    finally:
        os.close(read_fd)
        call.join()
    return call.result()


def feed(
    pool: WorkerPool, job: Mapping[str, Any], descriptors: Sequence[int], source: Iterable[bytes], doing: str
) -> Mapping[str, Any]:
    """Have a worker do `job` with `descriptors` and, as the last one, a pipe with all that `source` gives; its result.

    The worker may end before it has read everything: then the rest of `source` is left. What `source` raises passes, after the
    worker has seen the end of the pipe. Errors: the worker's, Internal when it dies.
    """
    read_fd, write_fd = _pipe()
    call = _Call(pool, job, descriptors, read_fd, doing)
    call.start()
    try:
        with suppress(BrokenPipeError):  # the worker has had enough: its result says why
            for parts in _gathered(source):
                _write_all(write_fd, parts)
    finally:
        os.close(write_fd)
        call.join()
    return call.result()


def _pipe() -> tuple[int, int]:
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    with suppress(OSError):  # an unprivileged user's pipes may have been cut to a page
        fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, _PIPE)
    return read_fd, write_fd


def _gathered(source: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Small pieces together: each write wakes the worker."""
    parts: list[bytes] = []
    size = 0
    for data in source:
        parts.append(data)
        size += len(data)
        if size >= _GATHER or len(parts) == _MAX_PARTS:
            yield parts
            parts, size = [], 0
    if parts:
        yield parts


def _write_all(fd: int, parts: list[bytes]) -> None:
    written = os.writev(fd, parts)
    size = sum(map(len, parts))
    if written < size:
        rest = memoryview(b"".join(parts))
        while written < size:
            written += os.write(fd, rest[written:])


class _Call(threading.Thread):
    """The call of the pool; it holds the worker's end of the pipe until the worker is done: then the other end is told so."""

    def __init__(
        self,
        pool: WorkerPool,
        job: Mapping[str, Any],
        descriptors: Sequence[int],
        pipe_end: int,
        doing: str,
    ) -> None:
        super().__init__(name="tree-stream", daemon=True)
        self._pool = pool
        self._job = job
        self._descriptors = descriptors
        self._pipe_end = pipe_end
        self._doing = doing
        self._outcome: Mapping[str, Any] | BaseException = {}

    def run(self) -> None:
        try:
            self._outcome = self._pool.call(self._job, (*self._descriptors, self._pipe_end), self._doing)
        except BaseException as error:  # noqa: BLE001 - raised again by `result`, in the thread that asks
            self._outcome = error
        finally:
            os.close(self._pipe_end)

    def result(self) -> Mapping[str, Any]:
        """What the call returned or raised."""
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome
