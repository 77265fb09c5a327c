"""What the log kit works with: numbered lines, one-call write and read, a follower in a thread."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from barque.spi.log import LogEntry, LogQuery, LogSpec

__all__ = ["T0", "Follower", "log_spec", "numbered", "read", "write", "write_for_ever"]

T0 = 1_700_000_000_000_000_000


def log_spec(driver: Any, directory: Path, options: Mapping[str, str]) -> LogSpec:
    return LogSpec("c1", str(directory), driver.log_validate(options))


def numbered(start: int, end: int) -> bytes:
    return b"".join(b"%07d\n" % number for number in range(start, end))


def write(driver: Any, spec: LogSpec, data: bytes) -> None:
    writer = driver.log_open(spec)
    writer.write("stdout", data, T0)
    writer.close()


def read(driver: Any, spec: LogSpec, **query: Any) -> bytes:
    entries: Iterator[LogEntry] = driver.log_read(spec, LogQuery(**query))
    return b"".join(entry.data for entry in entries)


def write_for_ever(driver: Any, spec: LogSpec) -> None:
    """The life of a child process that is going to be killed."""
    try:
        writer = driver.log_open(spec)
        for start in range(0, 10_000_000, 1000):
            writer.write("stdout", numbered(start, start + 1000), T0)
    finally:
        os._exit(1)


class Follower:
    """A thread that reads a log and keeps what came."""

    def __init__(self, driver: Any, spec: LogSpec, query: LogQuery) -> None:
        self.data = b""
        self._failure: BaseException | None = None
        self._leave = threading.Event()
        self._asked = threading.Event()
        finished, stopped = query.finished, query.stopped

        def asked() -> bool:
            self._asked.set()
            return finished()

        query = LogQuery(
            tail=query.tail,
            follow=True,
            finished=asked,
            stopped=lambda: self._leave.is_set() or stopped(),
        )
        self._thread = threading.Thread(target=self._read, args=(driver, spec, query))

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._thread.join(10)

    def waits(self) -> bool:
        """Whether the follower has seen what there was, in time."""
        return self._asked.wait(10)

    def wait_for(self, data: bytes) -> bool:
        """Whether exactly `data` has come in time."""
        return self._within(10, lambda: self.data == data)

    def ended(self) -> bool:
        """Whether the iteration ends in time, without an exception."""
        self._thread.join(10)
        return not self._thread.is_alive() and self._failure is None

    def _read(self, driver: Any, spec: LogSpec, query: LogQuery) -> None:
        try:
            for entry in driver.log_read(spec, query):
                self.data += entry.data
        except BaseException as failure:  # noqa: BLE001 - reported by `ended`
            self._failure = failure

    def _within(self, seconds: float, condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True
