"""Reading a log that another process writes: everything, the tail, or for as long as it goes on.

That there is a later file is looked up before the end of a file is read: the writer begins one after its last write to the other, so
what reads empty then is at its end for good.
"""

from __future__ import annotations

import gzip
import json
import os
import time
import zlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from typing import BinaryIO, cast

from barque.spi.log import LogEntry, LogQuery
from barque_log_local.files import LogFiles
from barque_log_local.frames import ATTRIBUTES, LARGEST, OVERHEAD, STREAMS, Frame, count, entries, parse

__all__ = ["read"]

_POLL_SECONDS = 0.05
_BLOCK = LARGEST + OVERHEAD
_NAMES = {number: name for name, number in STREAMS.items()}


class Source:
    """One open file, read frame by frame. `size`: no further than that (of a plain file)."""

    def __init__(self, number: int, fd: int, compressed: bool) -> None:
        self.number = number
        self.size: int | None = None
        self._file: BinaryIO = os.fdopen(fd, "rb", buffering=0)
        self._plain = not compressed
        self._stream = (
            cast(BinaryIO, gzip.GzipFile(fileobj=self._file, mode="rb")) if compressed else self._file
        )
        self.rewind()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rewind(self) -> None:
        """Begin again."""
        self._stream.seek(0)
        self._taken = 0
        self._rest = b""
        self._damaged = False

    def stop_at_present_end(self) -> None:
        """Do not read what is written from now on."""
        if self._plain:
            self.size = os.fstat(self._file.fileno()).st_size

    def frames(self) -> Iterator[Frame]:
        """What there is now; a torn frame is left for the next call. What is damaged is where a file ends."""
        while not self._damaged:
            block = self._block()
            found, end = parse(self._rest + block)
            self._rest = (self._rest + block)[end:] if end >= 0 else b""
            self._damaged = end < 0
            yield from found
            if not block:
                return

    def _block(self) -> bytes:
        room = _BLOCK if self.size is None else min(_BLOCK, self.size - self._taken)
        try:
            block = self._stream.read(room) if room > 0 else b""
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self._damaged = True
            return b""
        self._taken += len(block)
        return block


class _Selection:
    """Which frames a query is about, and the attributes that hold for them."""

    def __init__(self, query: LogQuery) -> None:
        self._streams = {STREAMS[name] for name in STREAMS if getattr(query, name)}
        self._since, self._until = query.since_ns, query.until_ns or 1 << 63
        self._attributes: Mapping[str, str] = {}

    def wants(self, frame: Frame) -> bool:
        return frame.kind in self._streams and self._since <= frame.time_ns <= self._until

    def entries(self, frame: Frame, skip: int = 0) -> Iterator[LogEntry]:
        """The entries of a frame less the first `skip`."""
        for number, text in enumerate(entries(frame.text)):
            if number >= skip:
                yield LogEntry(_NAMES[frame.kind], frame.time_ns, text, self._attributes)

    def note(self, frame: Frame) -> None:
        """Take the attributes of what follows from a frame that tells them."""
        if frame.kind == ATTRIBUTES:
            try:
                document = json.loads(frame.text)
                self._attributes = {str(name): str(value) for name, value in document.items()}
            except (ValueError, AttributeError, RecursionError):
                self._attributes = {}


def read(files: LogFiles, query: LogQuery) -> Iterator[LogEntry]:
    """The entries that `query` asks for, in the order they were written."""
    selection = _Selection(query)
    with ExitStack() as opened:
        sources = _open(files, files.numbers(), opened)
        skip = _skip_to_tail(sources, query, selection)
        if sources and not query.follow:
            sources[-1].stop_at_present_end()
        for source in sources[:-1]:
            skip = yield from _entries(source, query, selection, skip)
            source.close()
        last = sources[-1] if sources else None
        if not query.follow:
            if last is not None:
                yield from _entries(last, query, selection, skip)
            return
        yield from _follow(files, query, selection, last, skip, opened)


def _open(files: LogFiles, numbers: list[int], opened: ExitStack) -> list[Source]:
    found = ((number, files.open(number)) for number in numbers)
    sources = [Source(number, *place) for number, place in found if place is not None]
    for source in sources:
        opened.enter_context(closing(source))
    return sources


def _entries(
    source: Source, query: LogQuery, selection: _Selection, skip: int
) -> Generator[LogEntry, None, int]:
    """The entries of a file from where it stands, less the first `skip`; what is left of that."""
    for frame in source.frames():
        if query.stopped():
            break
        selection.note(frame)
        if not selection.wants(frame):
            continue
        here = count(frame.text) if skip else 0
        if skip < here or not skip:
            yield from selection.entries(frame, skip)
        skip = max(0, skip - here)
    return skip


def _follow(
    files: LogFiles,
    query: LogQuery,
    selection: _Selection,
    source: Source | None,
    skip: int,
    opened: ExitStack,
) -> Iterator[LogEntry]:
    """From the newest file on; `source` is None while there is none."""
    while True:
        finished = query.finished() or 0 < query.until_ns < time.time_ns()
        later = [number for number in files.numbers() if source is None or number > source.number]
        if source is not None:
            skip = yield from _entries(source, query, selection, skip)
        if query.stopped():
            return
        if later:
            following = _open(files, later[:1], opened)
            if following:
                if source is not None:
                    source.close()
                source = following[0]
            continue
        if finished:
            return
        time.sleep(_POLL_SECONDS)


def _skip_to_tail(sources: list[Source], query: LogQuery, selection: _Selection) -> int:
    """Drop the files before the last `tail` entries; how many entries of the first that is left are before them, too."""
    if query.tail < 0:
        return 0
    missing = query.tail
    for index in range(len(sources) - 1, -1, -1):
        here = sum(count(frame.text) for frame in sources[index].frames() if selection.wants(frame))
        sources[index].rewind()
        if here >= missing:
            for source in sources[:index]:
                source.close()
            del sources[:index]
            return here - missing
        missing -= here
    return 0
