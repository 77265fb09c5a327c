"""The 512-byte tar header: POSIX ustar, GNU, star and V7 (tar(5); POSIX.1-2017 pax, "ustar Interchange Format").

Where writers disagree, readings follow Go's archive/tar, which Docker and containerd use: an image must not
unpack to one tree there and to another here.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from zlib import adler32

from barque.spi.errors import InvalidArgument

__all__ = [
    "BLOCK",
    "MAX_MTIME_NS",
    "ZERO_BLOCK",
    "Entry",
    "byte_sum",
    "finish_header",
    "malformed",
    "parse_header",
    "parse_number",
    "show",
]

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
MAX_MTIME_NS = (1 << 33) * 1_000_000_000
"""Times of modification are kept from 1970 to this one, in 2242: what ext4 can hold, and more than anybody needs."""

_FIELDS = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12s")
_MAX_INT = 2**63 - 1
_MAX_ID = 2**32 - 2  # (uid_t)-1 means "leave as it is" to chown(2)
_HEADER_ONLY = frozenset(b"123456")
_NAME_SHOWN = 200


class Entry:
    """One member of a tar file. Names are bytes as in the archive; `size` is the number of payload bytes that
    follow, `real_size` that of the file (they differ for a sparse one, whose data lie at `segments`)."""

    __slots__ = (
        "gid",
        "linkname",
        "major",
        "minor",
        "mode",
        "mtime_ns",
        "name",
        "real_size",
        "segments",
        "size",
        "type",
        "uid",
        "xattrs",
    )

    name: bytes
    linkname: bytes
    type: int
    mode: int
    uid: int
    gid: int
    size: int
    real_size: int
    mtime_ns: int
    major: int
    minor: int
    segments: list[tuple[int, int]] | None
    xattrs: dict[bytes, bytes] | None


def show(name: bytes) -> str:
    """`name` for a message: printable, quoted, bounded."""
    text = name[:_NAME_SHOWN].decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return f'"{text}…"' if len(name) > _NAME_SHOWN else f'"{text}"'


def malformed(name: bytes, reason: str) -> InvalidArgument:
    """The error for an entry that cannot be read or must not be unpacked."""
    return InvalidArgument(f"invalid tar entry {show(name)}: {reason}")


@lru_cache(maxsize=8192)
def parse_number(field: bytes) -> int:
    """A numeric header field: octal digits, or base-256 when the top bit is set. ValueError when it is neither."""
    if field[0] & 0x80:
        return _base256(field)
    digits = field.strip(b" \0").partition(b"\0")[0]
    if not digits:
        return 0
    if not digits.isdigit():
        raise ValueError(field)
    return int(digits, 8)


def _base256(field: bytes) -> int:
    """GNU's extension: big-endian two's complement, the top bit of the first byte being only a mark."""
    first = field[0] & 0x7F
    if first & 0x40:
        first -= 0x80
    value = int.from_bytes(bytes([first & 0xFF]) + field[1:], "big", signed=True)
    if not -_MAX_INT <= value <= _MAX_INT:
        raise ValueError(field)
    return value


def parse_header(block: bytes) -> Entry:
    """The entry a header block describes. Errors: InvalidArgument."""
    (
        name, mode, uid, gid, size, mtime, stored_sum, kind, linkname, magic, _user, _group, major, minor, prefix, tail
    ) = _FIELDS.unpack(block)  # fmt: skip
    name = name.partition(b"\0")[0]
    entry = Entry()
    try:
        _check_sum(block, stored_sum)
        entry.mode = parse_number(mode) & 0o7777
        entry.uid = parse_number(uid)
        entry.gid = parse_number(gid)
        entry.size = parse_number(size)
        entry.mtime_ns = parse_number(mtime) * 1_000_000_000
        if magic[:5] == b"ustar":
            entry.major = parse_number(major)
            entry.minor = parse_number(minor)
            if magic == b"ustar\00000" and prefix[0]:
                name = _long_prefix(prefix, tail) + name
        else:
            entry.major = entry.minor = 0
    except ValueError:
        raise malformed(name, "a number in its header or its checksum is wrong") from None
    entry.name = name
    entry.linkname = linkname.partition(b"\0")[0]
    entry.type = kind[0] or 0x30
    if not kind[0] and name.endswith(b"/"):
        entry.type = 0x35  # V7 tar marks a directory by the slash only
    entry.segments = entry.xattrs = None
    finish_header(entry)
    return entry


def finish_header(entry: Entry) -> None:
    """Check the ranges of an entry's numbers, and settle its sizes; again after extended headers changed them."""
    if not 0 <= entry.size <= _MAX_INT:
        raise malformed(entry.name, "its size is out of range")
    if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
        raise malformed(entry.name, "its user or group id is out of range")
    if entry.type in _HEADER_ONLY:
        entry.size = 0  # links, devices and directories carry no data, whatever the size field says
    entry.real_size = entry.size


def _long_prefix(prefix: bytes, tail: bytes) -> bytes:
    """The part of a ustar name that goes before it; star keeps two times in the last 24 bytes of the field."""
    if tail[8:] == b"tar\0":
        prefix = prefix[:131]
    return prefix.partition(b"\0")[0] + b"/"


def byte_sum(data: bytes) -> int:
    """The sum of at most 256 bytes: Adler-32 begun at 0 keeps it in its lower half, modulo 65521, at the speed of C."""
    return adler32(data, 0) & 0xFFFF


def _check_sum(block: bytes, field: bytes) -> None:
    """The checksum is the sum of the header's bytes (see `byte_sum`), its own field taken as spaces; old tars summed signed chars."""
    stored = parse_number(field)
    total = (adler32(block[:256], 0) & 0xFFFF) + (adler32(block[256:], 0) & 0xFFFF) - sum(field) + 8 * 0x20
    if total != stored:
        rest = block[:148] + block[156:]
        if total - 256 * sum(byte > 127 for byte in rest) != stored:
            raise ValueError(stored)
