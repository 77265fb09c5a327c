"""The log's format: frames of whole lines that came together, so that neither writing nor searching costs anything a line.

    length of the text (u32) | kind (u8) | time in ns since the epoch (u64) | text | length of the text (u32)        big-endian

Kind 1 is stdout, 2 stderr; the text is lines with their newlines, or pieces of a line that is longer than 16 KiB, or a line's end
without a newline. Kind 0 is a JSON object: the attributes of what follows. The length at the end tells a whole frame from a torn one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

__all__ = [
    "ATTRIBUTES",
    "LARGEST",
    "OVERHEAD",
    "PIECE",
    "STREAMS",
    "Frame",
    "count",
    "encode",
    "entries",
    "parse",
    "whole_end",
]

PIECE = 16 * 1024  # bytes of a line in one entry, as dockerd's
LARGEST = 256 * 1024  # bytes of text in a frame
ATTRIBUTES = 0
STREAMS = {"stdout": 1, "stderr": 2}

_HEAD = struct.Struct(">IBQ")
_TAIL = struct.Struct(">I")
OVERHEAD = _HEAD.size + _TAIL.size


class Frame(NamedTuple):
    """One frame; see the module."""

    kind: int
    time_ns: int
    text: bytes


def encode(kind: int, time_ns: int, text: bytes) -> bytes:
    """A frame as bytes."""
    return _HEAD.pack(len(text), kind, time_ns) + text + _TAIL.pack(len(text))


def parse(data: bytes) -> tuple[list[Frame], int]:
    """The whole frames that `data` begins with, and where they end; -1 when what follows is no frame."""
    found: list[Frame] = []
    place = 0
    while place + OVERHEAD <= len(data):
        length, kind, time_ns = _HEAD.unpack_from(data, place)
        if length > LARGEST or kind > 2:
            return found, -1
        end = place + OVERHEAD + length
        if end > len(data):
            break
        if _TAIL.unpack_from(data, end - _TAIL.size)[0] != length:
            return found, -1
        found.append(Frame(kind, time_ns, data[place + _HEAD.size : end - _TAIL.size]))
        place = end
    return found, place


def whole_end(last: bytes) -> bool:
    """Whether `last`, the end of a file and at least a frame of the largest size if the file has that, ends with a whole frame."""
    if len(last) < OVERHEAD:
        return False
    length = int.from_bytes(last[-_TAIL.size :], "big")
    start = len(last) - OVERHEAD - length
    return start >= 0 and length <= LARGEST and int.from_bytes(last[start : start + 4], "big") == length


def entries(text: bytes) -> Iterator[bytes]:
    """The lines and pieces of a frame's text."""
    for line in text.splitlines(keepends=True) if b"\r" not in text else _lines(text):
        if len(line) <= PIECE:
            yield line
        else:
            yield from (line[start : start + PIECE] for start in range(0, len(line), PIECE))


def _lines(text: bytes) -> Iterator[bytes]:
    """Split at newlines only: a carriage return is a byte of a line."""
    parts = text.split(b"\n")
    yield from (part + b"\n" for part in parts[:-1])
    if parts[-1]:
        yield parts[-1]


def count(text: bytes) -> int:
    """How many `entries` there are."""
    if len(text) <= PIECE:
        return text.count(b"\n") + (not text.endswith(b"\n"))
    return sum(1 for _ in entries(text))
