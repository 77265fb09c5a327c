"""A container's output on its way to the log driver: a log that fails never reaches the container."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, time_ns
from typing import TYPE_CHECKING

from barque.shim.protocol import ShimSettings
from barque.spi.log import LogSpec, LogWriter

if TYPE_CHECKING:
    from barque.shim.container import Drivers

__all__ = ["ContainerLog", "open_log"]

_STREAMS = {1: "stdout", 2: "stderr"}
_REPORT_EVERY = 10.0


class ContainerLog:
    """Writes chunks to the writer that `open` gives (None: no log is kept) when there is the first to write.

    It counts what gets lost and reports it every 10 s at most.
    """

    def __init__(self, open: Callable[[], LogWriter | None], report: Callable[[str, int], None]) -> None:
        self._open = open
        self._writer: LogWriter | None = None
        self._opened = False
        self._report = report
        self._lost = 0
        self._reason = ""
        self._reported = -_REPORT_EVERY

    def write(self, stream: int, data: bytes) -> None:
        """Keep `data` of descriptor `stream` (1 or 2) with the time now."""
        try:
            if not self._opened:
                self._writer = self._open()
                self._opened = True
            if self._writer is not None:
                self._writer.write(_STREAMS[stream], data, time_ns())
        except Exception as error:  # noqa: BLE001 - a driver's defect is reported and must not stop the output
            self._lose(len(data), error)

    def unfinished(self, stream: int) -> bytes:
        """What the log keeps back of `stream` until its newline comes; empty where the driver does not tell."""
        tell = getattr(self._writer, "unfinished", None)
        try:
            return bytes(tell(_STREAMS[stream])) if tell is not None else b""
        except Exception as error:  # noqa: BLE001 - as in write
            self._lose(0, error)
            return b""

    def close(self) -> None:
        """Close the log and report what is left to report. Idempotent."""
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        except Exception as error:  # noqa: BLE001 - as in write
            self._lose(0, error)
        if self._lost:
            self._report(self._reason, self._lost)
            self._lost = 0

    def _lose(self, size: int, error: Exception) -> None:
        self._lost += size
        self._reason = str(error) or type(error).__name__
        now = monotonic()
        if now - self._reported >= _REPORT_EVERY:
            self._report(self._reason, self._lost)
            self._reported = now
            self._lost = 0


def open_log(settings: ShimSettings, drivers: Drivers) -> LogWriter | None:
    """The log's writer; None when no log driver is named."""
    if not settings.log:
        return None
    spec = LogSpec(settings.id, settings.log_directory, settings.log_options, settings.log_attributes)
    log = drivers.log(settings.log).log_open(spec)
    cache = settings.log_cache
    if cache is None:
        return log
    from barque.shim.cached_log import CachedLog

    copy = LogSpec(settings.id, cache["directory"], cache["options"])
    return CachedLog(log, drivers.log(cache["driver"]).log_open(copy))
