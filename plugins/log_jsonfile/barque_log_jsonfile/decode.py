"""JSON lines to log entries.

In a line `{"log":"…","stream":…}` only the string is decoded each time (by the C scanner of `json`); what
follows it, stream and time, is the same for all the lines of a chunk and remembered.
"""

from __future__ import annotations

import calendar
import json.decoder
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from barque.spi.log import LogEntry

__all__ = ["decode_line", "decode_lines"]

# Decodes the JSON string whose text begins at an index; returns it and the index behind its closing quote.
_scan: Callable[[str, int], tuple[str, int]] = json.decoder.scanstring  # type: ignore[attr-defined]
_NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})
_HEAD = '{"log":"'
_INVALID = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def decode_lines(lines: bytes) -> Iterator[LogEntry]:
    """The entries in whole lines; what is none is passed over."""
    head, start = _HEAD, len(_HEAD)
    known_rest = ""
    stream, time_ns, attributes = "", 0, _NO_ATTRIBUTES
    for line in lines.decode("utf-8", "replace").split("\n"):
        if not line.startswith(head):
            entry = decode_line(line)  # empty, another order of the keys, or no entry at all
            if entry is not None:
                yield entry
            continue
        try:
            text, end = _scan(line, start)
            rest = line[end:]
            if rest != known_rest:
                stream, time_ns, attributes = _parse_rest(rest)
                known_rest = rest
        except _INVALID:
            continue
        yield LogEntry(stream, time_ns, text.encode("utf-8", "replace"), attributes)


def decode_line(line: str | bytes) -> LogEntry | None:
    """The entry of one line, or None."""
    if not line:
        return None
    try:
        document = json.loads(line)
        stream, time_ns, attributes = _origin(document)
        return LogEntry(stream, time_ns, document["log"].encode("utf-8", "replace"), attributes)
    except _INVALID:
        return None


_USUAL = {stream: f',"stream":"{stream}","time":"' for stream in ("stdout", "stderr")}
_USUAL_LENGTH = len(_USUAL["stdout"])


def _parse_rest(rest: str) -> tuple[str, int, Mapping[str, str]]:
    """Stream, time and attributes in what follows the string of an entry."""
    usual = rest[:_USUAL_LENGTH]
    if usual == _USUAL["stdout"] and rest.endswith('"}'):
        return "stdout", _time(rest[_USUAL_LENGTH:-2]), _NO_ATTRIBUTES
    if usual == _USUAL["stderr"] and rest.endswith('"}'):
        return "stderr", _time(rest[_USUAL_LENGTH:-2]), _NO_ATTRIBUTES
    return _origin(json.loads('{"log":""' + rest))


def _origin(document: Any) -> tuple[str, int, Mapping[str, str]]:
    stream, attributes = document["stream"], document.get("attrs")
    if stream not in _USUAL:
        raise ValueError("not a stream")
    if not attributes:
        return stream, _time(document["time"]), _NO_ATTRIBUTES
    return stream, _time(document["time"]), {str(name): str(value) for name, value in attributes.items()}


def _time(text: str) -> int:
    """Nanoseconds since the epoch of RFC 3339 in UTC, with up to nine digits of fraction. ValueError."""
    if len(text) < 20 or text[-1] != "Z" or not text.isascii():
        raise ValueError("not a time")
    fraction = text[20:-1].ljust(9, "0")
    if text[19] not in ".Z" or len(fraction) != 9 or not fraction.isdigit():
        raise ValueError("not a time")
    year, month, day = int(text[0:4]), int(text[5:7]), int(text[8:10])
    hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
    seconds = calendar.timegm((year, month, day, hour, minute, second))
    return seconds * 1_000_000_000 + int(fraction)
