"""The worker's job that decompresses: four compressions, in one process, in bounded memory."""

import bz2
import gzip
import hashlib
import lzma
import os
import zlib

import pytest

from barque.spi.errors import InvalidArgument
from barque.spi.trees.compression import PIECE, pieces
from barque.spi.trees.inflate import Inflate, inflate, run
from barque.spi.trees.magic import compression_of
from barque.spi.trees.pool import WorkerPool
from barque.spi.trees.streaming import stream
from barque.testing.layers import compress

CONTENT = os.urandom(60_000) + bytes(1_000_000)
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
PACKERS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": lambda data: compress(data, "zstd"),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.fixture
def opened(tmp_path):
    descriptors = []

    def open_file(data=b""):
        path = tmp_path / str(len(descriptors))
        path.write_bytes(data)
        descriptors.append(os.open(path, os.O_RDWR))
        return descriptors[-1]

    yield open_file
    for fd in descriptors:
        os.close(fd)


def whole(fd):
    return os.pread(fd, 10_000_000, 0)


@pytest.mark.parametrize("name", PACKERS)
def test_content_and_digest(opened, name):
    packed = PACKERS[name](CONTENT)
    assert compression_of(packed[:6]) == name
    assert inflate(Inflate(), opened(packed)) == (DIGEST, len(CONTENT))
    plain, again = opened(), opened()
    inflate(Inflate("plain"), opened(packed), plain)
    assert whole(plain) == CONTENT
    assert run({"output": "gzip"}, (opened(packed), again)) == {"digest": DIGEST, "bytes": len(CONTENT)}
    assert gzip.decompress(whole(again)) == CONTENT


@pytest.mark.parametrize("name", ["gzip", "zstd", "bzip2", "xz"])
def test_several_streams_are_one_content(opened, name):
    """As pbzip2, pixz, pigz and zstd -T write them."""
    packed = PACKERS[name](CONTENT[:50_000]) + PACKERS[name](CONTENT[50_000:])
    assert inflate(Inflate(), opened(packed)) == (DIGEST, len(CONTENT))


def test_padding_after_xz_is_nothing(opened):
    assert inflate(Inflate(), opened(lzma.compress(CONTENT) + bytes(400)))[0] == DIGEST


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("damage", ["cut", "changed", "followed by something else"])
def test_damage_is_told(opened, name, damage):
    packed = PACKERS[name](CONTENT)
    if damage == "cut":
        packed = packed[: len(packed) // 2]
    elif damage == "changed":
        middle = len(packed) // 2
        packed = (
            packed[:middle]
            + bytes(byte ^ 0x55 for byte in packed[middle : middle + 64])
            + packed[middle + 64 :]
        )
    else:
        packed += b"something else"
    with pytest.raises(InvalidArgument):
        assert inflate(Inflate(), opened(packed))[0] == DIGEST, "read as if nothing was wrong"


@pytest.mark.parametrize("frame", ["data", "skippable"])
@pytest.mark.parametrize("cut", [1, 5, 17])
def test_zstd_that_ends_within_a_frame(opened, frame, cut):
    """An import has no digest that would tell: what is missing must be an error, not a shorter layer."""
    packed = compress(CONTENT, "zstd")
    if frame == "skippable":
        packed += b"\x50\x2a\x4d\x18\x10\0\0\0" + bytes(16)
    assert inflate(Inflate(), opened(packed)) == (DIGEST, len(CONTENT))
    with pytest.raises(InvalidArgument, match="unexpected end of the zstd data"):
        inflate(Inflate(), opened(packed[:-cut]))


def test_zstd_bomb_comes_in_bounded_pieces(opened):
    fd = opened(compress(bytes(200 << 20), "zstd"))
    assert max(map(len, pieces(fd, ""))) <= PIECE


@pytest.mark.row("S22")
def test_xz_that_wants_gigabytes_of_memory(opened):
    """The dictionary's size is one byte of the block's header (xz file format, 3.1 and 5.3.1)."""
    packed = bytearray(lzma.compress(b"x"))
    end = 12 + (packed[12] + 1) * 4 - 4
    packed[packed.index(b"\x21\x01", 12) + 2] = 38  # 2 GiB
    packed[end : end + 4] = zlib.crc32(packed[12:end]).to_bytes(4, "little")
    with pytest.raises(InvalidArgument, match=r"[Mm]emory"):
        inflate(Inflate(), opened(bytes(packed)))


def test_two_equal_inputs_give_equal_outputs(opened):
    first, second = opened(), opened()
    inflate(Inflate("gzip"), opened(lzma.compress(CONTENT)), first)
    inflate(Inflate("gzip"), opened(lzma.compress(CONTENT)), second)
    assert whole(first) == whole(second)


@pytest.mark.row("S20")
def test_worker_streams_and_runs_no_program(opened, tmp_path, monkeypatch):
    """With programs of these names first in PATH, in the working directory and in the worker's own root."""
    jail = tmp_path / "jail"
    jail.mkdir()
    for name in ("gzip", "unpigz", "xz", "bzip2", "zstd"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran-{name}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    pool = WorkerPool("barque.spi.trees.inflate", 1, 0.1, str(jail))
    for packer in PACKERS.values():
        pieces = []
        result = stream(pool, {"output": "plain"}, (opened(packer(CONTENT)),), pieces.append, "decompressing")
        assert result["digest"] == DIGEST
        assert b"".join(pieces) == CONTENT
    assert not list(tmp_path.glob("ran-*"))
