"""Driver `json-file`: what a container prints, one JSON object a line, in Docker's format.

    {"log":"a line\\n","stream":"stdout","time":"2026-01-01T00:00:00.000000001Z"}

The log is `<directory>/<container id>-json.log`; rotated files are `….1` (the newest) to `….N`, with `compress` `….1.gz` to `….N.gz`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from barque.spi import Probe, hookimpl
from barque.spi.log import LogCapability, LogEntry, LogQuery, LogSpec, LogWriter
from barque_log_jsonfile.options import Limits, validated
from barque_log_jsonfile.paths import LogPaths
from barque_log_jsonfile.writer import JsonFileWriter

__all__ = ["JsonFileLog", "JsonFileLogConfig"]


@dataclass(frozen=True)
class JsonFileLogConfig:
    """The default `--log-opt`s. As Docker's: nothing is rotated, so that no line is lost.

    max_size: a file is rotated before it grows beyond this (`20m`; k, m, g are powers of 1000 as Docker's;
        `-1`: never).
    max_file: how many files are kept, the one that is written included; the oldest is dropped.
    """

    max_size: str = "-1"
    max_file: int = 1


class JsonFileLog:
    """The log driver `json-file`; contract in `barque.spi.log.LogHooks`."""

    Config: ClassVar[type[JsonFileLogConfig]] = JsonFileLogConfig
    capabilities: ClassVar[frozenset[LogCapability]] = frozenset(
        {LogCapability.READ, LogCapability.FOLLOW, LogCapability.FILE}
    )

    def __init__(self, name: str, config: JsonFileLogConfig) -> None:
        self._name = name
        self._defaults = {"max-size": config.max_size, "max-file": str(config.max_file)}

    @hookimpl
    def log_probe(self) -> Probe:
        """Nothing but a file system is needed."""
        return Probe(facts=dict(self._defaults))

    @hookimpl
    def log_validate(self, options: Mapping[str, str]) -> Mapping[str, str]:
        """The options completed with the profile's defaults; InvalidArgument for what Docker refuses too."""
        return validated({**self._defaults, **options}, self._name)

    @hookimpl
    def log_open(self, spec: LogSpec) -> LogWriter:
        """Open for appending; see `JsonFileWriter`."""
        return JsonFileWriter(self._paths(spec), self._limits(spec), spec.attributes)

    @hookimpl
    def log_read(self, spec: LogSpec, query: LogQuery) -> Iterator[LogEntry]:
        """Entries in order; `tail` counts entries that the rest of the query lets through."""
        from barque_log_jsonfile.reader import read  # not needed in the shim, and it has ctypes in it

        return read(self._paths(spec), query)

    @hookimpl
    def log_remove(self, spec: LogSpec) -> None:
        """Unlink the log and its rotated files."""
        self._paths(spec).remove()

    def _limits(self, spec: LogSpec) -> Limits:
        return Limits.of({**self._defaults, **spec.options})

    def _paths(self, spec: LogSpec) -> LogPaths:
        return LogPaths(spec.directory, spec.container_id, self._limits(spec).max_files)
