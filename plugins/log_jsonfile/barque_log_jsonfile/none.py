"""Driver `none`: keeps nothing of what a container prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from barque.spi import Probe, errors, hookimpl
from barque.spi.log import LogCapability, LogEntry, LogQuery, LogSpec, LogWriter

__all__ = ["NoneLog", "NoneLogConfig"]


@dataclass(frozen=True)
class NoneLogConfig:
    """There is nothing to configure."""


class NoneLog:
    """The log driver `none`; contract in `barque.spi.log.LogHooks`."""

    Config: ClassVar[type[NoneLogConfig]] = NoneLogConfig
    capabilities: ClassVar[frozenset[LogCapability]] = frozenset()

    def __init__(self, name: str, config: NoneLogConfig) -> None:  # noqa: ARG002
        self._name = name

    @hookimpl
    def log_probe(self) -> Probe:
        """Nothing is needed."""
        return Probe()

    @hookimpl
    def log_validate(self, options: Mapping[str, str]) -> Mapping[str, str]:
        """No option is known."""
        for name in options:
            raise errors.InvalidArgument(f"unknown log opt '{name}' for {self._name} log driver")
        return {}

    @hookimpl
    def log_open(self, spec: LogSpec) -> LogWriter:  # noqa: ARG002
        """A writer that drops everything."""
        return _Dropped()

    @hookimpl
    def log_read(self, spec: LogSpec, query: LogQuery) -> Iterator[LogEntry]:  # noqa: ARG002
        """There is nothing to read: NotImplemented, in dockerd's words."""
        raise errors.NotImplemented("configured logging driver does not support reading")

    @hookimpl
    def log_remove(self, spec: LogSpec) -> None:
        """Nothing was kept."""


class _Dropped:
    """Takes chunks and forgets them."""

    def write(self, stream: str, data: bytes, time_ns: int) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """Nothing is open."""
