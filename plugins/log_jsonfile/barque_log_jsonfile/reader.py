"""Reading a log that another process writes and rotates: everything, the tail, or for as long as it goes on.

A follower stands on an open file, not on a name. That a file was rotated is looked up *before* its end is read:
the writer renames after its last write, so a rotated file that reads empty is at its end for good.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from barque.spi.log import LogEntry, LogQuery
from barque_log_jsonfile.cursor import Cursor
from barque_log_jsonfile.decode import decode_lines
from barque_log_jsonfile.inotify import DirectoryWatch
from barque_log_jsonfile.paths import LogPaths, OpenFile
from barque_log_jsonfile.tail import seek_tail

if TYPE_CHECKING:
    from barque_log_jsonfile.packed import PackedCursor

__all__ = ["read"]

_POLL_SECONDS = 0.1
# A file that was written last this long before `since` holds nothing of interest, small steps of the clock allowed for.
_CLOCK_MARGIN_NS = 60 * 1_000_000_000


def read(paths: LogPaths, query: LogQuery) -> Iterator[LogEntry]:
    """The entries that `query` asks for, in the order they were written."""
    wanted = _filter(query)
    if query.follow:
        with DirectoryWatch(paths.directory) as watch:  # before the first look, so that no change is missed
            yield from _read(paths, query, wanted, watch)
    else:
        yield from _read(paths, query, wanted, None)


def _read(
    paths: LogPaths, query: LogQuery, wanted: Callable[[LogEntry], bool] | None, watch: DirectoryWatch | None
) -> Iterator[LogEntry]:
    cursors = [_cursor(opened) for opened in paths.open_all()]
    try:
        if query.tail >= 0:
            seek_tail(cursors, query.tail, wanted)
        else:
            _skip_old(cursors, query.since_ns)
        while len(cursors) > 1:
            yield from _decode(cursors[0], query, wanted)
            cursors.pop(0).close()
        if watch is not None:
            yield from _follow(paths, query, wanted, cursors, watch)
        elif cursors:
            cursors[0].stop_at_present_end()
            yield from _decode(cursors[0], query, wanted)
    finally:
        for cursor in cursors:
            cursor.close()


def _cursor(opened: OpenFile) -> Cursor | PackedCursor:
    if not opened.packed:
        return Cursor(opened)
    from barque_log_jsonfile.packed import PackedCursor  # few logs are compressed

    return PackedCursor(opened)


def _decode(
    cursor: Cursor | PackedCursor, query: LogQuery, wanted: Callable[[LogEntry], bool] | None
) -> Iterator[LogEntry]:
    """The entries from the cursor to the end of its file."""
    while not query.stopped() and (lines := cursor.read_lines()):
        yield from decode_lines(lines) if wanted is None else filter(wanted, decode_lines(lines))


def _follow(
    paths: LogPaths,
    query: LogQuery,
    wanted: Callable[[LogEntry], bool] | None,
    cursors: list[Cursor | PackedCursor],
    watch: DirectoryWatch,
) -> Iterator[LogEntry]:
    """From the newest file on; `cursors` holds the one open cursor, or none while there is no file."""
    while True:
        finished = query.finished() or 0 < query.until_ns < time.time_ns()
        more = True
        while more and not query.stopped():
            rotated = not cursors or not paths.is_current(cursors[0].file)
            if cursors:
                yield from _decode(cursors[0], query, wanted)
            more = rotated and _go_on_to_next(paths, cursors)
        if finished or query.stopped():
            return
        watch.wait(_POLL_SECONDS)


def _go_on_to_next(paths: LogPaths, cursors: list[Cursor | PackedCursor]) -> bool:
    """Put the cursor on the file that was written after the present one. False while there is none."""
    opened = paths.open_successor(cursors[0].file if cursors else None)
    if opened is None:
        return False
    for cursor in cursors:
        cursor.close()
    cursors[:] = [_cursor(opened)]
    return True


def _skip_old(cursors: list[Cursor | PackedCursor], since_ns: int) -> None:
    """Drop the files that were written last before `since_ns`."""
    while len(cursors) > 1 and os.fstat(cursors[0].fd).st_mtime_ns + _CLOCK_MARGIN_NS < since_ns:
        cursors.pop(0).close()


def _filter(query: LogQuery) -> Callable[[LogEntry], bool] | None:
    """A test for entries, or None when the query lets all through."""
    if query.stdout and query.stderr and not query.since_ns and not query.until_ns:
        return None
    streams = {name for name, chosen in (("stdout", query.stdout), ("stderr", query.stderr)) if chosen}
    since, until = query.since_ns, query.until_ns or 1 << 63

    def wanted(entry: LogEntry) -> bool:
        return entry.stream in streams and since <= entry.time_ns <= until

    return wanted
