"""Headers as others read them: Python's tarfile, and our own reader."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.spi.trees.entries import END, TYPES, entry_header, padding
from barque.spi.trees.header import byte_sum
from barque.spi.trees.reader import TarReader

NAMES = st.binary(min_size=1, max_size=400).filter(lambda name: b"\0" not in name)
KEYS = st.binary(min_size=1, max_size=30).filter(lambda key: b"\0" not in key and b"=" not in key)


def read(data):
    pieces = iter([data])
    return list(TarReader(lambda: next(pieces, b""), 100))


def one(*arguments, **more):
    (entry,) = read(entry_header(*arguments, **more) + END)
    return entry


@given(
    name=NAMES,
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    mtime=st.integers(-(2**62), 2**63),
    link=NAMES,
    xattrs=st.dictionaries(KEYS, st.binary(max_size=100), max_size=3),
)
def test_what_is_written_is_read(name, mode, uid, gid, mtime, link, xattrs):
    entry = one(name, TYPES["symlink"], mode, uid, gid, 0, mtime, link=link, xattrs=xattrs)
    assert (entry.name, entry.mode, entry.uid, entry.gid, entry.mtime_ns) == (name, mode, uid, gid, mtime)
    assert entry.linkname == link
    assert (entry.xattrs or {}) == xattrs


@given(st.binary(max_size=256))
def test_the_fast_sum_is_the_sum(data):
    assert byte_sum(data) == sum(data)


@pytest.mark.parametrize("size", [0, 1, 8 << 30, (8 << 30) - 1, 1 << 60])
def test_sizes(size):
    header = entry_header(b"big", TYPES["file"], 0o644, 0, 0, size, 0)
    info = tarfile.TarFile(fileobj=io.BytesIO(header + bytes(1024))).firstmember
    assert (info.size, info.name) == (size, "big")
    assert len(header) % 512 == 0


def test_device_numbers():
    entry = one(b"d", TYPES["block"], 0o600, 0, 0, 0, 0, device=(4095, (1 << 20) - 1))
    assert (entry.major, entry.minor, entry.type) == (4095, (1 << 20) - 1, ord("4"))


def test_a_plain_entry_is_one_block_and_names_nobody():
    header = entry_header(b"etc/motd", TYPES["file"], 0o644, 1000, 1000, 5, 1_700_000_000 * 10**9)
    assert len(header) == 512
    assert not header[265:329].strip(b"\0")  # user and group names
    info = tarfile.TarFile(fileobj=io.BytesIO(header + b"hello" + padding(5) + END)).firstmember
    assert (info.mtime, info.uid, info.mode) == (1_700_000_000, 1000, 0o644)


def test_times_are_exact_and_short():
    header = entry_header(b"f", TYPES["file"], 0, 0, 0, 0, 1_500_000_000_120_000_000)
    assert b"23 mtime=1500000000.12\n" in header
    assert one(b"f", TYPES["file"], 0, 0, 0, 0, -1_500_000_000).mtime_ns == -1_500_000_000


@pytest.mark.parametrize("length", range(80, 115))
def test_records_around_a_change_of_their_length(length):
    value = b"v" * length
    assert one(b"f", TYPES["file"], 0, 0, 0, 0, 0, xattrs={b"user.x": value}).xattrs == {b"user.x": value}


def test_padding_fills_blocks():
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]
