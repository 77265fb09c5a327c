"""A worker's input as a stream: from an iterator of the caller's through a pipe, in bounded memory."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from barque.spi.trees.pool import WorkerPool

__all__ = ["feed"]

_PIPE = 1 << 20
_GATHER = 256 << 10
_MAX_PARTS = 1000  # IOV_MAX is 1024


def feed(
    pool: WorkerPool, job: Mapping[str, Any], descriptors: Sequence[int], source: Iterable[bytes], doing: str
) -> Mapping[str, Any]:
    """Have a worker do `job` with `descriptors` and, as the last one, a pipe with all that `source` gives; its result.

    The worker may end before it has read everything: then the rest of `source` is left. What `source` raises passes, after the
    worker has seen the end of the pipe. Errors: the worker's, Internal when it dies.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    with suppress(OSError):  # an unprivileged user's pipes may have been cut to a page
        fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, _PIPE)
    call = _Call(pool, job, (*descriptors, read_fd), read_fd, doing)
    call.start()
    try:
        with suppress(BrokenPipeError):  # the worker has had enough: its result says why
            for parts in _gathered(source):
                _write_all(write_fd, parts)
    finally:
        os.close(write_fd)
        call.join()
    return call.result()


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
    """The call of the pool. It closes our copy of the pipe's read end when the worker is done, so that writing ends then, too."""

    def __init__(
        self, pool: WorkerPool, job: Mapping[str, Any], descriptors: Sequence[int], read_fd: int, doing: str
    ) -> None:
        super().__init__(name="tree-feed", daemon=True)
        self._pool = pool
        self._job = job
        self._descriptors = descriptors
        self._read_fd = read_fd
        self._doing = doing
        self._outcome: Mapping[str, Any] | BaseException = {}

    def run(self) -> None:
        try:
            self._outcome = self._pool.call(self._job, self._descriptors, self._doing)
        except BaseException as error:  # noqa: BLE001 - raised again by `result`, in the thread that asks
            self._outcome = error
        finally:
            os.close(self._read_fd)

    def result(self) -> Mapping[str, Any]:
        """What the call returned or raised."""
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome
