"""Driver `local`: what a container prints, in a compact form of its own, rotated and compressed. Files are as in `frames`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from barque.spi import Probe, hookimpl
from barque.spi.log import LogCapability, LogEntry, LogHooks, LogQuery, LogSpec, LogWriter

__all__ = ["LocalLog", "LocalLogConfig"]


@dataclass(frozen=True)
class LocalLogConfig:
    """The default `--log-opt`s.

    max_size: a new file is begun before one grows beyond this (`20m`; k, m, g are powers of 1000; `-1`: never).
    max_file: how many files are kept, the one that is written included; the oldest is dropped.
    compress: compress the files that are not written any more, in a process of its own.
    """

    max_size: str = "20m"
    max_file: int = 5
    compress: bool = True


class LocalLog(LogHooks):
    """The log driver `local`; contract in `barque.spi.log.LogHooks`. A shim that does not use it imports nothing of it."""

    Config: ClassVar[type[LocalLogConfig]] = LocalLogConfig
    capabilities: ClassVar[frozenset[LogCapability]] = frozenset({LogCapability.READ, LogCapability.FOLLOW})

    def __init__(self, name: str, config: LocalLogConfig) -> None:
        self._name = name
        self._defaults = {
            "max-size": config.max_size,
            "max-file": str(config.max_file),
            "compress": str(config.compress).lower(),
        }

    @hookimpl
    def log_probe(self) -> Probe:
        """Nothing but a file system is needed."""
        return Probe(facts=dict(self._defaults))

    @hookimpl
    def log_validate(self, options: Mapping[str, str]) -> Mapping[str, str]:
        """The options completed with the profile's defaults; InvalidArgument for what Docker refuses too."""
        from barque_log_local.options import validated

        return validated({**self._defaults, **options}, self._name)

    @hookimpl
    def log_open(self, spec: LogSpec) -> LogWriter:
        """Open for appending; see `LocalWriter`."""
        from barque_log_local.files import LogFiles
        from barque_log_local.options import Limits
        from barque_log_local.writer import LocalWriter

        limits = Limits.of({**self._defaults, **spec.options})
        return LocalWriter(LogFiles(spec.directory), limits, spec.attributes)

    @hookimpl
    def log_read(self, spec: LogSpec, query: LogQuery) -> Iterator[LogEntry]:
        """Entries in order; `tail` counts entries that the rest of the query lets through."""
        from barque_log_local.files import LogFiles
        from barque_log_local.reader import read

        return read(LogFiles(spec.directory), query)

    @hookimpl
    def log_remove(self, spec: LogSpec) -> None:
        """Unlink all files of the log."""
        from barque_log_local.files import LogFiles

        LogFiles(spec.directory).remove()
