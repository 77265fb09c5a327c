"""Reading a container's entries back, with journalctl(1)."""

from __future__ import annotations

import calendar
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from typing import IO, Any

from barque.spi.log import LogEntry, LogQuery, LogSpec
from barque_log_journald.entries import PRIORITIES

__all__ = ["read"]

_POLL_MS = 100
_BLOCK = 1 << 16
_STREAMS = {priority: stream for stream, priority in PRIORITIES.items()}
_LONGEST = 1 << 20  # of a line of journalctl's


def read(journalctl: str, spec: LogSpec, query: LogQuery) -> Iterator[LogEntry]:
    """The entries that `query` asks for, in the journal's order."""
    process = subprocess.Popen(
        _command(journalctl, spec, query),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    try:
        if process.stdout is not None:
            yield from _entries(process.stdout, query)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _command(journalctl: str, spec: LogSpec, query: LogQuery) -> list[str]:
    words = [journalctl, "--quiet", "--no-pager", "--output=json", "--all"]
    words += [f"--lines={query.tail}"] if query.tail >= 0 else ["--no-tail"]
    words += [f"--since=@{query.since_ns // 1_000_000_000}"] if query.since_ns else []
    words += [f"--until=@{query.until_ns // 1_000_000_000 + 1}"] if query.until_ns else []
    words += ["--follow"] if query.follow else []
    wanted = [PRIORITIES[stream] for stream in PRIORITIES if getattr(query, stream)]
    return [*words, f"CONTAINER_ID_FULL={spec.container_id}", *(f"PRIORITY={number}" for number in wanted)]


def _entries(output: IO[bytes], query: LogQuery) -> Iterator[LogEntry]:
    until = query.until_ns or 1 << 63
    for line in _lines(output.fileno(), query):
        entry = _entry(line)
        if entry is not None and query.since_ns <= entry.time_ns <= until and getattr(query, entry.stream):
            yield entry


def _lines(fd: int, query: LogQuery) -> Iterator[bytes]:
    """Lines until journalctl ends, or (when following) nothing has come for a moment and nothing more will."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    rest = b""
    while not query.stopped():
        finished = query.follow and (query.finished() or 0 < query.until_ns < time.time_ns())
        if not poll.poll(_POLL_MS):
            if finished:
                return
            continue
        block = os.read(fd, _BLOCK)
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
        if not block or len(rest) > _LONGEST:
            return


def _entry(line: bytes) -> LogEntry | None:
    """An entry of journalctl's JSON; None for what is none of ours."""
    try:
        document: dict[str, Any] = json.loads(line)
        message = document["MESSAGE"]
        text = bytes(message) if isinstance(message, list) else str(message).encode("utf-8", "replace")
        end = b"" if document.get("CONTAINER_PARTIAL_MESSAGE") == "true" else b"\n"
        return LogEntry(_STREAMS[document["PRIORITY"]], _time(document), text + end)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _time(document: dict[str, Any]) -> int:
    stamp = document.get("SYSLOG_TIMESTAMP")
    if isinstance(stamp, str) and len(stamp) == 30:
        seconds = calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S"))
        return seconds * 1_000_000_000 + int(stamp[20:29])
    return int(document["__REALTIME_TIMESTAMP"]) * 1000
