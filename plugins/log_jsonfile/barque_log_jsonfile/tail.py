"""Finding where the last N entries begin, from the end backwards, without reading the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from barque.spi.log import LogEntry
from barque_log_jsonfile.cursor import BLOCK, MAX_LINE, Cursor
from barque_log_jsonfile.decode import decode_line

__all__ = ["seek_tail"]


def seek_tail(cursors: list[Cursor], count: int, wanted: Callable[[LogEntry], bool] | None) -> None:
    """Set the cursors (the oldest first) so that the last `count` wanted entries follow; older files are closed and dropped.

    Only offsets are kept, not entries: the memory it takes does not depend on `count`.
    """
    missing = count
    for index in range(len(cursors) - 1, -1, -1):
        missing = _seek(cursors[index], missing, wanted)
        if not missing:
            for cursor in cursors[:index]:
                cursor.close()
            del cursors[:index]
            return


def _seek(cursor: Cursor, missing: int, wanted: Callable[[LogEntry], bool] | None) -> int:
    """Place the cursor before the last `missing` wanted entries of its file; how many there are too few."""
    for start, lines in _blocks_backwards(cursor.fd):
        end = start + len(lines)
        for line in reversed(lines.split(b"\n")[:-1]):
            if not missing:
                cursor.offset = end
                return 0
            entry = decode_line(line)
            missing -= entry is not None and (wanted is None or wanted(entry))
            end -= len(line) + 1
        cursor.offset = end
        if not missing:
            return 0
    return missing


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
