"""A log that goes elsewhere, and a copy of it that can be read: what Docker calls dual logging."""

from __future__ import annotations

from contextlib import suppress

from barque.spi.log import LogWriter

__all__ = ["CachedLog"]


class CachedLog:
    """A `LogWriter` that writes to two. Losing the copy is no loss of the log, and the log's loss none of the copy's."""

    def __init__(self, log: LogWriter, copy: LogWriter) -> None:
        self._log, self._copy = log, copy

    def write(self, stream: str, data: bytes, time_ns: int) -> None:
        """See LogWriter. Raises what the log raises."""
        with suppress(OSError):
            self._copy.write(stream, data, time_ns)
        self._log.write(stream, data, time_ns)

    def unfinished(self, stream: str) -> bytes:
        """Of the copy, which is what is read."""
        tell = getattr(self._copy, "unfinished", None)
        return tell(stream) if tell is not None else b""

    def close(self) -> None:
        """See LogWriter."""
        with suppress(OSError):
            self._copy.close()
        self._log.close()
