"""A streaming, strict tar reader: ustar, PAX, GNU long names, base-256 numbers, GNU sparse files.

It trusts nothing: every number is range-checked, every header bounded, and whatever it cannot read is an
InvalidArgument that names the entry. Global PAX headers are checked and then ignored, as Docker does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from barque.spi.errors import InvalidArgument
from barque.spi.trees.header import BLOCK, ZERO_BLOCK, Entry, malformed, parse_header
from barque.spi.trees.pax import Records, apply_records, parse_records
from barque.spi.trees.sparse import read_old_map, read_pax_map

__all__ = ["TarReader"]

_MAX_EXTENDED = 1024 * 1024
_MAX_NAME = 4095  # PATH_MAX without its NUL

_COPIED = 65536  # from here on a view is cheaper than a copy
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK, _OLD_SPARSE = b"xgLKS"
_EXTENDED = frozenset(b"xgLK")
_REGULAR = 0x30


class TarReader:
    """Entries of the tar that `next_chunk` returns piece by piece (any sizes; empty at the end).

    Use: `for entry in reader: for piece in reader.payload(): …`. What is not read of a payload is skipped.
    """

    def __init__(self, next_chunk: Callable[[], bytes], max_entries: int) -> None:
        self._next_chunk = next_chunk
        self._max_entries = max_entries
        self._buffer = b""
        self._position = 0
        self._unread = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        count = 0
        pending = _Pending()
        while (block := self._header_block()) is not None:
            count += 1
            if count > self._max_entries:
                raise InvalidArgument(
                    f"the layer has more than {self._max_entries} entries",
                    hint="raise max_entries of the storage driver if the image is to be trusted",
                )
            entry = parse_header(block)
            if entry.type in _EXTENDED:
                pending.add(entry, self._extended_data(entry))
                continue
            if pending.any:
                pending.apply(entry, self._take)
                pending = _Pending()
            if entry.type == _OLD_SPARSE:
                read_old_map(entry, block, self._take)
                entry.type = _REGULAR
            self._expect_payload(entry.size)
            _check_names(entry)
            yield entry
        if pending.any:
            raise InvalidArgument("invalid tar: it ends after an extended header")

    def payload(self) -> Iterator[bytes | memoryview]:
        """The rest of the current entry's data, in pieces. Errors: InvalidArgument when the tar ends before it."""
        while self._unread:
            piece = self._piece(self._unread)
            self._unread -= len(piece)
            yield piece

    def whole_payload(self) -> bytes | memoryview | None:
        """All of the current entry's data when it has come already; None: ask `payload`. Most files of an image are small."""
        start = self._position
        end = start + self._unread
        if end > len(self._buffer):
            return None
        self._position = end
        self._unread = 0
        return self._buffer[start:end] if end - start < _COPIED else memoryview(self._buffer)[start:end]

    def _piece(self, wanted: int) -> bytes | memoryview:
        """At least one and at most `wanted` bytes, without a copy where that is large."""
        start = self._position
        if start >= len(self._buffer):
            self._refill()
            start = 0
        end = min(start + wanted, len(self._buffer))
        self._position = end
        if end - start < _COPIED:
            return self._buffer[start:end]
        return memoryview(self._buffer)[start:end]

    def _refill(self) -> None:
        chunk = self._next_chunk()
        if not chunk:
            raise InvalidArgument("invalid tar: unexpected end of file")
        self._buffer = chunk
        self._position = 0

    def _take(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        end = self._position + count
        if end <= len(self._buffer):
            taken = self._buffer[self._position : end]
            self._position = end
            return taken
        parts = []
        while count:
            piece = self._piece(count)
            parts.append(piece)
            count -= len(piece)
        return b"".join(parts)

    def _expect_payload(self, size: int) -> None:
        self._unread = size
        self._padding = -size % BLOCK

    def _skip(self, count: int) -> None:
        while count:
            count -= len(self._piece(count))

    def _header_block(self) -> bytes | None:
        """The next header; None at the end: two zero blocks, or one, or none, and the end of the file."""
        if self._unread:
            self._skip(self._unread)
            self._unread = 0
        start = self._position + self._padding
        block = self._buffer[start : start + BLOCK]
        if len(block) == BLOCK and block != ZERO_BLOCK:
            self._position = start + BLOCK
            self._padding = 0
            return block
        if self._at_end(self._padding):
            return None
        if self._padding:
            self._skip(self._padding)
            self._padding = 0
        if self._at_end(1):
            return None
        block = self._take(BLOCK)
        if block != ZERO_BLOCK:
            return block
        if not self._at_end(1) and self._take(BLOCK) != ZERO_BLOCK:
            raise InvalidArgument("invalid tar: a lone zero block before an entry")
        return None

    def _at_end(self, needed: int) -> bool:
        """True when fewer than `needed` bytes are left in the file."""
        while len(self._buffer) - self._position < needed:
            chunk = self._next_chunk()
            if not chunk:
                return True
            self._buffer = self._buffer[self._position :] + chunk
            self._position = 0
        return False

    def _extended_data(self, entry: Entry) -> bytes:
        if entry.size > _MAX_EXTENDED:
            raise malformed(
                entry.name, f"an extended header of {entry.size} bytes, more than {_MAX_EXTENDED}"
            )
        data = self._take(entry.size)
        self._expect_payload(0)
        self._padding = -entry.size % BLOCK
        return data


class _Pending:
    """Extended headers that wait for the entry they describe."""

    def __init__(self) -> None:
        self.any = False
        self._records: Records = {}
        self._name = b""
        self._linkname = b""

    def add(self, header: Entry, data: bytes) -> None:
        if header.type == _PAX_GLOBAL:
            parse_records(data, header.name)
            return
        self.any = True
        if header.type == _PAX:
            self._records = parse_records(data, header.name)
        elif header.type == _LONG_NAME:
            self._name = data.partition(b"\0")[0]
        else:
            self._linkname = data.partition(b"\0")[0]

    def apply(self, entry: Entry, take: Callable[[int], bytes]) -> None:
        if self._records:
            apply_records(entry, self._records)
            read_pax_map(entry, self._records, take)
        entry.name = self._name or entry.name
        entry.linkname = self._linkname or entry.linkname


def _check_names(entry: Entry) -> None:
    if not entry.name:
        raise malformed(entry.name, "it has no name")
    if len(entry.name) > _MAX_NAME or len(entry.linkname) > _MAX_NAME:
        raise malformed(entry.name, f"its name or link is longer than {_MAX_NAME} bytes")
