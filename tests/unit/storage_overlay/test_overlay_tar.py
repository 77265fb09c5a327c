"""The tar reader: what it reads, and that it reads nothing else."""

from __future__ import annotations

import io
import tarfile

import pytest

from barque.spi.errors import InvalidArgument
from barque.spi.trees.header import parse_header, parse_number
from barque.spi.trees.pax import parse_records, parse_time
from barque.spi.trees.reader import TarReader
from barque.testing.layers import LayerTar


def read(data, size=1000, max_entries=1000):
    """(name, payload) of all entries; the reader gets the tar in pieces of `size` bytes."""
    stream = io.BytesIO(data)
    reader = TarReader(lambda: stream.read(size), max_entries)
    return [(entry.name.decode(), b"".join(reader.payload())) for entry in reader]


def entry_of(info, format):
    """How an entry that `tarfile` wrote reads."""
    data = info.tobuf(format)
    stream = io.BytesIO(data + bytes(info.size + 1024))
    return next(iter(TarReader(lambda: stream.read(4096), 10)))


@pytest.mark.parametrize("size", [1, 7, 512, 513, 100_000])
def test_pieces_of_any_size(size):
    data = LayerTar().file("a", b"x" * 1500).directory("d").file("d/b").file("c", b"y" * 512).content()
    assert read(data, size) == [("a", b"x" * 1500), ("d/", b""), ("d/b", b""), ("c", b"y" * 512)]


def test_payload_that_is_not_read_is_skipped():
    stream = io.BytesIO(LayerTar().file("a", b"x" * 5000).file("b").content())
    reader = TarReader(lambda: stream.read(700), 10)
    assert [entry.name for entry in reader] == [b"a", b"b"]


@pytest.mark.parametrize("tail", [b"", bytes(512), bytes(1024), bytes(10_240)])
def test_ends(tail):
    data = LayerTar().file("a", b"x" * 600).content()[:-1024]
    assert read(data + tail) == [("a", b"x" * 600)]


def test_missing_padding_at_the_end():
    data = LayerTar().file("a", b"x" * 600).content()
    assert read(data[: 512 + 600]) == [("a", b"x" * 600)]


@pytest.mark.parametrize("cut", [1, 511, 513, 1111])
def test_cut_off(cut):
    data = LayerTar().file("a", b"x" * 600).content()[:cut]
    with pytest.raises(InvalidArgument, match="unexpected end"):
        read(data)


def test_entry_limit():
    data = LayerTar().file("a").file("b").file("c").content()
    assert len(read(data, max_entries=3)) == 3
    with pytest.raises(InvalidArgument, match="more than 2 entries"):
        read(data, max_entries=2)


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_large_numbers(format):
    info = tarfile.TarInfo("n" * 150 + "/" + "m" * 150)
    info.type, info.linkname = tarfile.SYMTYPE, "t" * 300
    info.uid, info.gid, info.mtime = 3_000_000_000, 2_500_000, 10_000_000_000
    entry = entry_of(info, format)
    assert (entry.name, entry.linkname) == (info.name.encode(), info.linkname.encode())
    assert (entry.uid, entry.gid, entry.mtime_ns) == (3_000_000_000, 2_500_000, 10_000_000_000 * 10**9)


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_size_beyond_octal(format):
    info = tarfile.TarInfo("huge")
    info.size = 20 << 30
    data = io.BytesIO(info.tobuf(format))
    assert next(iter(TarReader(lambda: data.read(512), 10))).size == 20 << 30


def test_ustar_prefix():
    info = tarfile.TarInfo("p" * 120 + "/" + "n" * 80)
    assert entry_of(info, tarfile.USTAR_FORMAT).name == info.name.encode()


def test_modes_and_times():
    info = tarfile.TarInfo("f")
    info.mode, info.mtime = 0o106755, 1234567890.123456789
    entry = entry_of(info, tarfile.PAX_FORMAT)
    assert entry.mode == 0o6755
    assert entry.mtime_ns // 10**9 == 1234567890


def test_header_only_types_have_no_payload():
    info = tarfile.TarInfo("link")
    info.type, info.linkname = tarfile.LNKTYPE, "a"
    info.size = 5000
    data = info.tobuf(tarfile.USTAR_FORMAT) + LayerTar().file("next", b"x").content()
    assert [name for name, _data in read(data)] == ["link", "next"]


def test_v7_directory_by_its_slash():
    block = bytearray(tarfile.TarInfo("d/").tobuf(tarfile.USTAR_FORMAT)[:512])
    block[156] = 0
    block[257:265] = bytes(8)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    assert parse_header(bytes(block)).type == ord("5")


def test_signed_checksum_of_old_tars():
    block = bytearray(tarfile.TarInfo("ümlaut").tobuf(tarfile.USTAR_FORMAT, "utf-8")[:512])
    block[148:156] = b" " * 8
    signed = sum(byte - 256 if byte > 127 else byte for byte in block)
    block[148:156] = b"%06o\0 " % signed
    assert parse_header(bytes(block)).name == "ümlaut".encode()


def test_global_pax_header_changes_nothing():
    tar = io.BytesIO()
    with tarfile.open(
        fileobj=tar, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"path": "elsewhere"}
    ) as archive:
        archive.addfile(tarfile.TarInfo("a"))
    assert read(tar.getvalue()) == [("a", b"")]


def test_xattrs_with_any_bytes():
    data = LayerTar().file("a", b"", {"security.capability": b"\x01\0\n=\xff", "user.x": b"y"}).content()
    stream = io.BytesIO(data)
    (entry,) = TarReader(lambda: stream.read(512), 10)
    assert entry.xattrs == {b"security.capability": b"\x01\0\n=\xff", b"user.x": b"y"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"   644 \0", 0o644),
        (b"\0\0\0\0\0\0\0\0", 0),
        (b"7777777\0", 0o7777777),
        (b"\x80\0\0\0\0\0\x01\0", 256),
        (b"\xff\xff\xff\xff\xff\xff\xff\xfe", -2),
        (b"644\0junk", 0o644),
    ],
)
def test_numbers(field, value):
    assert parse_number(field) == value


@pytest.mark.parametrize(
    "field",
    [b"0000648\0", b"-000644\0", b"0o00644\0", b"6_4\0\0\0\0\0", b"\x80" + b"\xff" * 11, b"0x10\0\0\0\0"],
)
def test_numbers_that_are_none(field):
    with pytest.raises(ValueError, match=r"b'"):
        parse_number(field)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"1", 10**9),
        (b"1.5", 1_500_000_000),
        (b"1700000000.123456789", 1_700_000_000_123_456_789),
        (b"-1.5", -1_500_000_000),
        (b"0.0000000019", 1),
    ],
)
def test_times(text, nanoseconds):
    assert parse_time(text) == nanoseconds


@pytest.mark.parametrize("text", [b"", b"x", b"1e9", b"nan", b"inf", b"+1", b"1.x", b"--1", b"1_0"])
def test_times_that_are_none(text):
    with pytest.raises(ValueError, match=r"b'"):
        parse_time(text)


def test_the_last_of_repeated_records_counts():
    assert parse_records(b"10 path=a\n10 path=b\n", b"x") == {b"path": b"b"}


@pytest.mark.parametrize(
    "data",
    [
        b"8 path=a\n",
        b"11 path=a\n",
        b"10 path=a ",
        b"path=a\n",
        b"10 pathxa\n",
        b"6 =ab\n",
        b" 10 path=a\n",
        b"+10 path=a\n",
    ],
)
def test_records_that_are_none(data):
    with pytest.raises(InvalidArgument):
        parse_records(data, b"x")
