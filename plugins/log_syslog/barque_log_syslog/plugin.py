"""Driver `syslog`: each line of a container is a message to a syslog server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from barque.spi import Probe, errors, hookimpl
from barque.spi.log import LogCapability, LogEntry, LogHooks, LogQuery, LogSpec, LogWriter

__all__ = ["SyslogLog", "SyslogLogConfig"]


@dataclass(frozen=True)
class SyslogLogConfig:
    """The default `--log-opt`s.

    address: the server: `unixgram:///dev/log`, `unix://…`, `udp://host:514`, `tcp://host:514`, `tcp+tls://host:6514`;
        empty: the host's own on /dev/log.
    facility: a name (`daemon`, `local0`) or a number from 0 to 23.
    format: `rfc3164`, `rfc5424`, `rfc5424micro`, or empty for that of a local syslog.
    """

    address: str = ""
    facility: str = "daemon"
    format: str = ""


class SyslogLog(LogHooks):
    """The log driver `syslog`; contract in `barque.spi.log.LogHooks`."""

    Config: ClassVar[type[SyslogLogConfig]] = SyslogLogConfig
    capabilities: ClassVar[frozenset[LogCapability]] = frozenset({LogCapability.CONTAINER})

    def __init__(self, name: str, config: SyslogLogConfig) -> None:
        self._name = name
        chosen = {
            "syslog-address": config.address,
            "syslog-facility": config.facility,
            "syslog-format": config.format,
        }
        self._defaults = {option: value for option, value in chosen.items() if value}

    @hookimpl
    def log_probe(self) -> Probe:
        """Whether a server can be reached shows when there is something to send."""
        return Probe(facts=dict(self._defaults))

    @hookimpl
    def log_validate(self, options: Mapping[str, str]) -> Mapping[str, str]:
        """The options completed with the profile's defaults; InvalidArgument for what Docker refuses too."""
        from barque_log_syslog.options import validated

        return validated({**self._defaults, **options}, self._name)

    @hookimpl
    def log_open(self, spec: LogSpec) -> LogWriter:
        """Connects with the first line; see `SyslogWriter`."""
        from barque_log_syslog.options import Settings
        from barque_log_syslog.writer import SyslogWriter

        return SyslogWriter(
            Settings.of({**self._defaults, **spec.options}), spec.attributes, spec.container_id
        )

    @hookimpl
    def log_read(self, spec: LogSpec, query: LogQuery) -> Iterator[LogEntry]:  # noqa: ARG002
        """What was sent is not to be had back: NotImplemented, in dockerd's words."""
        raise errors.NotImplemented("configured logging driver does not support reading")

    @hookimpl
    def log_remove(self, spec: LogSpec) -> None:
        """Nothing is kept here."""
