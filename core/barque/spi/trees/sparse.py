"""GNU sparse files: the old format (type S) and the PAX formats 0.0, 0.1 and 1.0 (GNU tar manual, appendix D.3).

A map lists the segments (offset, length) that hold data; between them the file has holes.
"""

from __future__ import annotations

from collections.abc import Callable

from barque.spi.trees.header import BLOCK, Entry, malformed, parse_number
from barque.spi.trees.pax import Records

__all__ = ["read_old_map", "read_pax_map"]

Take = Callable[[int], bytes]

_MAX_SEGMENTS = 65536
_MAX_SIZE = 2**63 - 1
_MAX_DIGITS = 20
_OLD_ENTRY = 24


def read_old_map(entry: Entry, block: bytes, take: Take) -> None:
    """Set `segments` and `real_size` from an old GNU header, and the extension blocks `take` reads after it."""
    try:
        numbers = _old_numbers(block[386:482])
        extended = block[482]
        real_size = parse_number(block[483:495])
        while extended:
            more = take(BLOCK)
            numbers += _old_numbers(more[:504])
            extended = more[504]
            _bound(entry, numbers)
    except ValueError:
        raise malformed(entry.name, "a number in its sparse map is wrong") from None
    _set_map(entry, numbers, real_size)


def _old_numbers(area: bytes) -> list[int]:
    """Offsets and lengths, alternating; an empty slot ends the list."""
    numbers: list[int] = []
    for start in range(0, len(area), _OLD_ENTRY):
        if not area[start]:
            break
        numbers += (parse_number(area[start : start + 12]), parse_number(area[start + 12 : start + 24]))
    return numbers


def read_pax_map(entry: Entry, records: Records, take: Take) -> None:
    """Set name, `segments` and sizes of an entry whose PAX records say that it is sparse; do nothing otherwise."""
    version = (records.get(b"GNU.sparse.major"), records.get(b"GNU.sparse.minor"))
    in_data = version == (b"1", b"0")
    if not in_data and (version[0] not in (None, b"0") or b"GNU.sparse.map" not in records):
        return
    if entry.type not in b"07":
        raise malformed(entry.name, "only a regular file can be sparse")
    entry.name = records.get(b"GNU.sparse.name") or entry.name
    try:
        size = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size") or b"%d" % entry.size
        real_size = _decimal(size)
        numbers = _map_in_data(entry, take) if in_data else _map_in_record(entry, records[b"GNU.sparse.map"])
    except ValueError:
        raise malformed(entry.name, "a number in its sparse map is wrong") from None
    _set_map(entry, numbers, real_size)


def _map_in_record(entry: Entry, text: bytes) -> list[int]:
    """Format 0.1, and 0.0 as `parse_records` collected it: numbers with commas."""
    if text.count(b",") > 2 * _MAX_SEGMENTS:
        raise malformed(entry.name, "its sparse map is too long")
    return [_decimal(number) for number in text.split(b",")] if text else []


def _map_in_data(entry: Entry, take: Take) -> list[int]:
    """Format 1.0: the map comes first in the payload, one decimal number a line, padded to whole blocks."""
    text = _payload_block(entry, take)
    count_line, newline, rest = text.partition(b"\n")
    if not newline:
        raise ValueError(count_line)
    wanted = 2 * _decimal(count_line)
    if wanted > 2 * _MAX_SEGMENTS:
        raise malformed(entry.name, "its sparse map is too long")
    parts = [rest]
    lines = rest.count(b"\n")
    while lines < wanted:
        block = _payload_block(entry, take)
        lines += block.count(b"\n")
        parts.append(block)
    return [_decimal(line) for line in b"".join(parts).split(b"\n")[:wanted]]


def _payload_block(entry: Entry, take: Take) -> bytes:
    """The next block of the entry's own payload."""
    if entry.size < BLOCK:
        raise malformed(entry.name, "its sparse map is cut off")
    entry.size -= BLOCK
    return take(BLOCK)


def _set_map(entry: Entry, numbers: list[int], real_size: int) -> None:
    """Check that segments ascend inside the file and add up to the payload, and put them into the entry."""
    _bound(entry, numbers)
    if len(numbers) % 2 or not 0 <= real_size <= _MAX_SIZE:
        raise malformed(entry.name, "its sparse map is incomplete")
    segments = list(zip(numbers[::2], numbers[1::2], strict=True))
    position = 0
    for offset, length in segments:
        if offset < position or length < 0 or offset + length > real_size:
            raise malformed(entry.name, "its sparse map is not in order")
        position = offset + length
    if sum(length for _offset, length in segments) != entry.size:
        raise malformed(entry.name, "its sparse map does not fit its size")
    entry.segments = segments
    entry.real_size = real_size


def _bound(entry: Entry, numbers: list[int]) -> None:
    if len(numbers) > 2 * _MAX_SEGMENTS:
        raise malformed(entry.name, "its sparse map is too long")


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > _MAX_DIGITS:
        raise ValueError(text)
    return int(text)
