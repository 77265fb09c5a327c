"""Compressed archives from clients: told by their first bytes, read whole or refused, in bounded pieces."""

import bz2
import gzip
import lzma
import os
import tempfile

import pytest
import zstandard

from barque.engine.files.input import pieces
from barque.spi.errors import InvalidArgument

DATA = os.urandom(100_000) + bytes(3_000_000) + b"abc" * 100_000
COMPRESS = {
    "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}  # fmt: skip


def read(blob):
    with tempfile.TemporaryFile() as file:
        file.write(blob)
        file.seek(0)
        return list(pieces(file.fileno()))


@pytest.mark.parametrize("name", COMPRESS)
def test_one_member_and_several(name):
    compress = COMPRESS[name]
    found = read(compress(DATA))
    assert b"".join(found) == DATA
    assert max(map(len, found)) <= 1 << 20
    assert b"".join(read(compress(DATA[:70]) + compress(b"") + compress(DATA[70:]))) == DATA


@pytest.mark.parametrize("name", COMPRESS)
@pytest.mark.parametrize("cut", [1, 9, 2000])
def test_a_cut_archive_is_refused(name, cut):
    with pytest.raises(InvalidArgument, match=name):
        read(COMPRESS[name](DATA)[:-cut])


@pytest.mark.parametrize("name", COMPRESS)
def test_a_damaged_archive_is_refused(name):
    blob = bytearray(COMPRESS[name](DATA))
    blob[len(blob) // 2] ^= 0xFF
    blob[30:60] = b"x" * 30
    with pytest.raises(InvalidArgument, match=name):
        read(bytes(blob))


def test_a_bomb_comes_in_bounded_pieces():
    bomb = COMPRESS["zstd"](bytes(200 << 20))
    with tempfile.TemporaryFile() as file:
        file.write(bomb)
        file.seek(0)
        assert max(map(len, pieces(file.fileno()))) <= 1 << 20


def test_plain_bytes_pass_and_nothing_is_nothing():
    assert b"".join(read(DATA)) == DATA
    assert read(b"") == []
    assert read(b"ab") == [b"ab"]


def test_padding_and_skippable_frames_hold_nothing():
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    assert b"".join(read(skippable + COMPRESS["zstd"](DATA) + skippable)) == DATA
    assert b"".join(read(COMPRESS["gzip"](DATA) + bytes(10_000))) == DATA


def test_first_bytes_may_come_one_by_one():
    read_end, write_end = os.pipe()
    blob = COMPRESS["gzip"](b"hello")
    for byte in blob:
        os.write(write_end, bytes([byte]))
    os.close(write_end)
    try:
        assert b"".join(pieces(read_end)) == b"hello"
    finally:
        os.close(read_end)
