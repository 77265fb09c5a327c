"""PAX extended headers (POSIX.1-2017 pax, "pax Extended Header"), as far as a layer needs them.

Read: path, linkpath, size, uid, gid, mtime, SCHILY.xattr.*, GNU.sparse.*. Other keywords change nothing here.
"""

from __future__ import annotations

from barque.spi.trees.header import Entry, finish_header, malformed

__all__ = ["Records", "apply_records", "parse_records"]

Records = dict[bytes, bytes]

_XATTR = b"SCHILY.xattr."
_SPARSE_PAIR = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
_NO_NUL = frozenset({b"path", b"linkpath", b"GNU.sparse.name"})
_MAX_DIGITS = 24


def parse_records(data: bytes, name: bytes) -> Records:
    """The records `LENGTH KEYWORD=VALUE\\n` of an extended header; of a repeated keyword the last one.

    The pairs of GNU's sparse format 0.0 repeat on purpose: they are collected into one `GNU.sparse.map`.
    """
    records: Records = {}
    pairs: list[bytes] = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + _MAX_DIGITS)
        digits = data[position:space] if space > position else b""
        end = position + int(digits) if digits.isdigit() else position
        if end <= max(space, position) or end > len(data) or data[end - 1] != 0x0A:
            raise malformed(name, "a PAX record has a wrong length")
        keyword, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not keyword or b"\0" in keyword or (keyword in _NO_NUL and b"\0" in value):
            raise malformed(name, "a PAX record is malformed")
        if keyword in _SPARSE_PAIR:
            if keyword != _SPARSE_PAIR[len(pairs) % 2]:
                raise malformed(name, "its sparse map is out of order")
            pairs.append(value)
        records[keyword] = value
        position = end
    if pairs:
        records[b"GNU.sparse.map"] = b",".join(pairs)
    return records


def apply_records(entry: Entry, records: Records) -> None:
    """Let the records overrule the fields of the header that follows them. An empty value overrules nothing."""
    entry.name = records.get(b"path") or entry.name
    entry.linkname = records.get(b"linkpath") or entry.linkname
    try:
        if value := records.get(b"size"):
            entry.size = _decimal(value)
        if value := records.get(b"uid"):
            entry.uid = _decimal(value)
        if value := records.get(b"gid"):
            entry.gid = _decimal(value)
        if value := records.get(b"mtime"):
            entry.mtime_ns = parse_time(value)
    except ValueError:
        raise malformed(entry.name, "a number in its PAX header is wrong") from None
    xattrs = {key[len(_XATTR) :]: value for key, value in records.items() if key.startswith(_XATTR)}
    entry.xattrs = xattrs or None
    finish_header(entry)


def parse_time(value: bytes) -> int:
    """Nanoseconds of a PAX time, decimal seconds with an optional sign and fraction. Never through a float."""
    whole, _dot, fraction = value.partition(b".")
    negative = whole.startswith(b"-")
    digits = whole[1:] if negative else whole
    if fraction and not fraction.isdigit():
        raise ValueError(value)
    nanoseconds = _decimal(digits) * 1_000_000_000 + int((fraction + b"000000000")[:9])
    return -nanoseconds if negative else nanoseconds


def _decimal(value: bytes) -> int:
    """A PAX integer; `int` alone would take signs, underscores and blanks too."""
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        raise ValueError(value)
    return int(value)
