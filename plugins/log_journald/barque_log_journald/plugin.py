"""Driver `journald`: each line of a container is an entry of the host's journal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from barque.spi import Probe, Problem, errors, hookimpl
from barque.spi.log import LogCapability, LogEntry, LogHooks, LogQuery, LogSpec, LogWriter

__all__ = ["JournaldLog", "JournaldLogConfig"]


@dataclass(frozen=True)
class JournaldLogConfig:
    """Where the journal is.

    socket: what entries are sent to.
    journalctl: the program that reads them back; where it is missing, logs cannot be read.
    """

    socket: str = "/run/systemd/journal/socket"
    journalctl: str = "/usr/bin/journalctl"


class JournaldLog(LogHooks):
    """The log driver `journald`; contract in `barque.spi.log.LogHooks`."""

    Config: ClassVar[type[JournaldLogConfig]] = JournaldLogConfig

    def __init__(self, name: str, config: JournaldLogConfig) -> None:
        self._name, self._config = name, config
        reads = os.access(config.journalctl, os.X_OK)
        self.capabilities = frozenset(
            {LogCapability.CONTAINER} | ({LogCapability.READ, LogCapability.FOLLOW} if reads else set())
        )

    @hookimpl
    def log_probe(self) -> Probe:
        """Whether there is a journal."""
        if os.path.exists(self._config.socket):
            return Probe()
        return Probe((Problem(f"there is no {self._config.socket}", "run systemd-journald"),))

    @hookimpl
    def log_validate(self, options: Mapping[str, str]) -> Mapping[str, str]:
        """InvalidArgument for what Docker refuses too."""
        from barque_log_journald.options import validated

        return validated(options, self._name)

    @hookimpl
    def log_open(self, spec: LogSpec) -> LogWriter:
        """Connects with the first line; see `JournalWriter`."""
        from barque_log_journald.writer import JournalWriter

        return JournalWriter(self._config.socket, spec, spec.options.get("mode") != "non-blocking")

    @hookimpl
    def log_read(self, spec: LogSpec, query: LogQuery) -> Iterator[LogEntry]:
        """Entries in the journal's order; NotImplemented, in dockerd's words, without journalctl."""
        if LogCapability.READ not in self.capabilities:
            raise errors.NotImplemented("configured logging driver does not support reading")
        from barque_log_journald.reader import read

        return read(self._config.journalctl, spec, query)

    @hookimpl
    def log_remove(self, spec: LogSpec) -> None:
        """The journal keeps what it has."""
