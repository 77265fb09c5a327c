"""Finding where the last N entries begin, from the end backwards, without reading the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from barque.spi.log import LogEntry
from barque_log_jsonfile.cursor import BLOCK, MAX_LINE, Cursor
from barque_log_jsonfile.decode import decode_line

if TYPE_CHECKING:
    from barque_log_jsonfile.packed import PackedCursor

__all__ = ["seek_tail"]

Wanted = Callable[[LogEntry], bool] | None


def seek_tail(cursors: list[Cursor | PackedCursor], count: int, wanted: Wanted) -> None:
    """Set the cursors (the oldest first) so that the last `count` wanted entries follow; older files are closed and dropped.

    Only offsets are kept, not entries: the memory it takes does not depend on `count`.
    """
    missing = count
    for index in range(len(cursors) - 1, -1, -1):
        cursor = cursors[index]
        missing = (
            _seek(cursor, missing, wanted)
            if isinstance(cursor, Cursor)
            else _seek_packed(cursor, missing, wanted)
        )
        if not missing:
            for cursor in cursors[:index]:
                cursor.close()
            del cursors[:index]
            return


def _seek(cursor: Cursor, missing: int, wanted: Wanted) -> int:
    """Place the cursor before the last `missing` wanted entries of its file; how many there are too few."""
    for start, lines in _blocks_backwards(cursor.fd):
        end = start + len(lines)
        for line in reversed(lines.split(b"\n")[:-1]):
            if not missing:
                cursor.offset = end
                return 0
            missing -= _is_wanted(line, wanted)
            end -= len(line) + 1
        cursor.offset = end
        if not missing:
            return 0
    return missing


def _is_wanted(line: bytes, wanted: Wanted) -> bool:
    entry = decode_line(line)
    return entry is not None and (wanted is None or wanted(entry))


def _seek_packed(cursor: PackedCursor, missing: int, wanted: Wanted) -> int:
    """As `_seek`: all entries are counted first, then those before the tail are passed over."""
    found = sum(1 for _ in _wanted_ends(cursor, wanted))
    cursor.seek(0)
    if found > missing:
        before = found - missing
        cursor.seek(next(islice(_wanted_ends(cursor, wanted), before - 1, None)))
    return max(0, missing - found)


def _wanted_ends(cursor: PackedCursor, wanted: Wanted) -> Iterator[int]:
    """Where each wanted entry ends."""
    while lines := cursor.read_lines():
        end = cursor.offset - len(lines)
        for line in lines.split(b"\n")[:-1]:
            end += len(line) + 1
            if _is_wanted(line, wanted):
                yield end


def _blocks_backwards(fd: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines with their offset, the last block first; a torn last line and lines beyond `MAX_LINE` are left out."""
    end = os.fstat(fd).st_size
    want = BLOCK
    torn = True
    while end > 0:
        start = max(0, end - want)
        data = os.pread(fd, end - start, start)
        if torn:
            data = data[: data.rfind(b"\n") + 1]
        first = data.find(b"\n") + 1 if start else 0
        if first < len(data):
            yield start + first, data[first:]
            end, want, torn = start + first, BLOCK, False
        elif want < MAX_LINE and start:
            want = MAX_LINE
        else:
            end, want, torn = start, BLOCK, True
