"""The driver `syslog`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from barque.spi import Probe, hookimpl
from barque.spi.log import LogCapability, LogEntry, LogHooks, LogQuery, LogSpec, LogWriter

__all__ = ["SyslogLog", "SyslogLogConfig"]


@dataclass(frozen=True)
class SyslogLogConfig:
    """Configuration of the syslog driver. It has no options."""


class SyslogLog(LogHooks):
    """See the package."""

    Config = SyslogLogConfig
    capabilities = frozenset[LogCapability]()

    def __init__(self, name: str, config: SyslogLogConfig) -> None:
        self.name, self._config = name, config

    @hookimpl
    def log_probe(self) -> Probe:
        """See LogHooks."""
        return Probe()

    @hookimpl
    def log_validate(self, options: Mapping[str, str]) -> Mapping[str, str]:
        """See LogHooks."""
        raise NotImplementedError

    @hookimpl
    def log_open(self, spec: LogSpec) -> LogWriter:
        """See LogHooks."""
        raise NotImplementedError

    @hookimpl
    def log_read(self, spec: LogSpec, query: LogQuery) -> Iterator[LogEntry]:
        """See LogHooks."""
        raise NotImplementedError

    @hookimpl
    def log_remove(self, spec: LogSpec) -> None:
        """See LogHooks."""
