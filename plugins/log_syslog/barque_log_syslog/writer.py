"""The writer that the shim holds: lines to syslog messages (RFC 3164, RFC 5424)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from barque.spi.log import CONTAINER_TAG
from barque_log_syslog.connecting import connect, datagrams
from barque_log_syslog.lines import Lines
from barque_log_syslog.options import Settings
from barque_log_syslog.sending import Sender

__all__ = ["SyslogWriter", "message"]

_SEVERITY = {"stdout": 6, "stderr": 3}


class SyslogWriter:
    """The open log of one container (`barque.spi.log.LogWriter`)."""

    def __init__(self, settings: Settings, attributes: Mapping[str, str], container_id: str) -> None:
        self._settings = settings
        self._tag = attributes.get(CONTAINER_TAG) or container_id[:12]
        self._lines = {stream: Lines() for stream in _SEVERITY}
        self._time_ns = 0
        self._sender = Sender(lambda: connect(settings), datagrams(settings), settings.waits, settings.buffer)

    def write(self, stream: str, data: bytes, time_ns: int) -> None:
        """Send the lines that are complete with `data`. Raises OSError for what is lost."""
        self._time_ns = time_ns
        self._send(stream, self._lines[stream].feed(data))

    def close(self) -> None:
        """Send what waits for its newline, and close. Idempotent."""
        try:
            for stream, lines in self._lines.items():
                self._send(stream, lines.flush())
        finally:
            self._sender.close()

    def _send(self, stream: str, lines: list[bytes]) -> None:
        failure: OSError | None = None
        priority = self._settings.facility * 8 + _SEVERITY[stream]
        for line in lines:
            try:
                self._sender.send(message(self._settings, priority, self._tag, line, self._time_ns))
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure


def message(settings: Settings, priority: int, tag: str, line: bytes, time_ns: int) -> bytes:
    """One message, framed as its transport wants it."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    now = time.localtime(seconds)
    pid, host = os.getpid(), os.uname().nodename
    if settings.format.startswith("rfc5424"):
        micro = f".{fraction // 1000:06d}" if settings.format == "rfc5424micro" else ""
        zone = time.strftime("%z", now)
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', now)}{micro}{zone[:3]}:{zone[3:]}"
        head = f"<{priority}>1 {stamp} {_word(host)} {_word(tag)} {pid} {_word(tag)} - "
    else:
        stamp = f"{time.strftime('%b', now)} {now.tm_mday:2d} {time.strftime('%H:%M:%S', now)}"
        where = f"{host} " if settings.format == "rfc3164" else ""
        head = f"<{priority}>{stamp} {where}{tag}[{pid}]: "
    text = head.replace("\n", " ").encode("utf-8", "replace") + line + b"\n"
    if settings.scheme == "tcp+tls" and settings.format.startswith("rfc5424"):
        return b"%d %b" % (len(text), text)  # RFC 5425
    return text


def _word(text: str) -> str:
    """A header field of RFC 5424: printable, without spaces, never empty."""
    return "".join(c if "!" <= c <= "~" else "_" for c in text) or "-"
