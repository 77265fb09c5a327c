"""Headers of tar entries, to be written: POSIX ustar, with PAX records for what does not fit (POSIX.1-2017 pax).

Nothing of the host or the moment goes into them: owners are numbers, there are no user or group names, no access or
change times. Equal arguments give equal bytes. The OCI image-spec ("layer") asks for this form.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from barque.spi.trees.header import BLOCK, byte_sum

__all__ = ["END", "TYPES", "entry_header", "padding"]

END = bytes(2 * BLOCK)

TYPES = {
    "file": b"0", "link": b"1", "symlink": b"2", "char": b"3", "block": b"4", "directory": b"5", "fifo": b"6",
}  # fmt: skip

_MAX_OCTAL_7 = 0o7777777
_MAX_OCTAL_11 = 0o77777777777
_NAME_SIZE = 100
_NO_LINK = bytes(_NAME_SIZE)
_MAGIC = b"ustar\00000" + bytes(64)
_NO_DEVICE = b"0000000\0" * 2
_REST = bytes(155 + 12)  # no prefix: a long name is a PAX record
_SECOND = 1_000_000_000


def entry_header(
    name: bytes,
    type: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime_ns: int,
    *,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    xattrs: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """The blocks before an entry's `size` bytes of data; `type` is one of `TYPES`, `device` major and minor.

    Any bytes without NUL are a name, of any length; a directory's ends with a slash. Times may be negative and have nanoseconds.
    """
    records: list[tuple[bytes, bytes]] = []
    seconds, nanoseconds = divmod(mtime_ns, _SECOND)
    if nanoseconds or not 0 <= seconds <= _MAX_OCTAL_11:
        records.append((b"mtime", _time(mtime_ns)))
        seconds = min(max(seconds, 0), _MAX_OCTAL_11)
    if len(name) > _NAME_SIZE:
        records.append((b"path", name))
        name = name[:_NAME_SIZE]
    if len(link) > _NAME_SIZE:
        records.append((b"linkpath", link))
        link = link[:_NAME_SIZE]
    if size > _MAX_OCTAL_11:
        records.append((b"size", b"%d" % size))
        size = 0
    if uid > _MAX_OCTAL_7:
        records.append((b"uid", b"%d" % uid))
        uid = 0
    if gid > _MAX_OCTAL_7:
        records.append((b"gid", b"%d" % gid))
        gid = 0
    if xattrs:
        records += ((b"SCHILY.xattr." + key, value) for key, value in xattrs.items())
    block = _ustar(name, type, mode, uid, gid, size, seconds, link, device)
    return _extended(records) + block if records else block


def padding(size: int) -> bytes:
    """The zeros that fill up the last block of `size` bytes of data."""
    return bytes(-size % BLOCK)


def _ustar(
    name: bytes,
    type: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    seconds: int,
    link: bytes,
    device: tuple[int, int],
) -> bytes:
    """One ustar header block. All values fit their fields."""
    start = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        name.ljust(_NAME_SIZE, b"\0"),
        mode,
        uid,
        gid,
        size,
        seconds,
    )
    rest = b"%b%b%b%b%b" % (
        type,
        link.ljust(_NAME_SIZE, b"\0") if link else _NO_LINK,
        _MAGIC,
        b"%07o\0%07o\0" % device if any(device) else _NO_DEVICE,
        _REST,
    )
    return b"%b%06o\0 %b" % (
        start,
        byte_sum(start) + byte_sum(rest[:250]) + byte_sum(rest[250:]) + 8 * 0x20,
        rest,
    )


def _extended(records: list[tuple[bytes, bytes]]) -> bytes:
    """A PAX extended header with these records, sorted by keyword."""
    records.sort()
    data = b"".join([_record(keyword, value) for keyword, value in records])
    return b"%b%b%b" % (_extended_header(len(data)), data, bytes(-len(data) % BLOCK))


@lru_cache(maxsize=256)
def _extended_header(size: int) -> bytes:
    return _ustar(b"././@PaxHeader", b"x", 0o644, 0, 0, size, 0, b"", (0, 0))


def _record(keyword: bytes, value: bytes) -> bytes:
    """`LENGTH KEYWORD=VALUE\\n`; the length counts itself."""
    size = len(keyword) + len(value) + 3
    length = size + len(b"%d" % size)
    if len(b"%d" % length) > length - size:
        length += 1
    return b"%d %b=%b\n" % (length, keyword, value)


def _time(mtime_ns: int) -> bytes:
    """Decimal seconds without needless digits."""
    sign = b"-" if mtime_ns < 0 else b""
    seconds, nanoseconds = divmod(abs(mtime_ns), _SECOND)
    fraction = (b".%09d" % nanoseconds).rstrip(b"0") if nanoseconds else b""
    return b"%b%d%b" % (sign, seconds, fraction)
