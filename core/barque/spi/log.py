"""Kind `log`: keeps what containers print. Entry-point group `barque.log.v1`.

`log_open` and the writer run in the shim (single-threaded, std library and `barque.spi` only); `log_read`,
`log_validate` and `log_remove` run in the daemon. Both ends see the same `LogSpec`. Reader and writer never
meet but in the file system, so logs go on while no daemon runs.

A driver is a class with a frozen stdlib dataclass `Config` (the default options in a profile), constructed as `Driver(name, config)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from barque.spi.common import Probe

__all__ = [
    "CONTAINER_NAME",
    "CONTAINER_TAG",
    "IMAGE_NAME",
    "LogCapability",
    "LogEntry",
    "LogHooks",
    "LogQuery",
    "LogSpec",
    "LogWriter",
]

CONTAINER_NAME, CONTAINER_TAG, IMAGE_NAME = "CONTAINER_NAME", "CONTAINER_TAG", "IMAGE_NAME"
"""Attributes of every log whose driver declares CONTAINER."""


class LogCapability(StrEnum):
    """What a log driver can do beyond writing."""

    READ = "read"
    FOLLOW = "follow"
    CONTAINER = (
        "container"  # `LogSpec.attributes` is to tell the container's name, its image's name, and the tag
    )
    FILE = "file"  # the log is the file `LogSpec.path`, in Docker's json-file format


@dataclass(frozen=True, slots=True)
class LogSpec:
    """The log of one container. `directory` (0700, exists) is the driver's for this container.
    `options` are `--log-opt`s, validated. `attributes` (labels, env, tag) the driver may keep with each entry."""

    container_id: str
    directory: str
    options: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where a driver with FILE writes: what `docker inspect` shows as LogPath."""
        return f"{self.directory}/{self.container_id}-json.log"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line or partial line: `stream` stdout or stderr, `time_ns` since the epoch, `data` with its newline if it had one."""

    stream: str
    time_ns: int
    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What to read. `tail` < 0: all. `since_ns`/`until_ns` 0: no bound. With `follow` the iterator goes on until
    `finished()` is True (nothing more will be written) and all is read, or until `stopped()` is True (the reader left).
    Both are cheap and may be asked ten times a second."""

    stdout: bool = True
    stderr: bool = True
    since_ns: int = 0
    until_ns: int = 0
    tail: int = -1
    follow: bool = False
    finished: Callable[[], bool] = lambda: True
    stopped: Callable[[], bool] = lambda: False


class LogWriter(Protocol):
    """The open log of a running container.

    A writer that keeps the beginning of a line until its newline comes may have a method `unfinished(stream: str) -> bytes` that tells it:
    who attaches in that moment then gets the whole line.
    """

    def write(self, stream: str, data: bytes, time_ns: int) -> None:
        """Keep a chunk of `stream` (any bytes: several lines, a part of one). May raise OSError (a full disk);
        the shim counts what was lost, tells it once, and goes on: a container never notices its log."""

    def close(self) -> None:
        """Flush a pending partial line and close. Idempotent."""


class LogHooks:
    """The hooks of kind `log`."""

    def log_probe(self) -> Probe:
        """What this host lacks. Never raises."""
        raise NotImplementedError

    def log_validate(self, options: Mapping[str, str]) -> Mapping[str, str]:
        """Check `--log-opt`s and add the profile's defaults. Pure. Errors: InvalidArgument (`unknown log opt 'x' for json-file log driver`)."""
        raise NotImplementedError

    def log_open(self, spec: LogSpec) -> LogWriter:
        """Open for appending; goes on where an earlier writer (killed or not) stopped, a torn last line is closed off."""
        raise NotImplementedError

    def log_read(self, spec: LogSpec, query: LogQuery) -> Iterator[LogEntry]:
        """Entries in order, also across rotation; safe beside a writer. Errors: NotImplemented without READ."""
        raise NotImplementedError

    def log_remove(self, spec: LogSpec) -> None:
        """Remove the log. Idempotent."""
        raise NotImplementedError
