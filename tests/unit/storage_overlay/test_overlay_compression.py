"""Which compression a layer has, and its pieces."""

from __future__ import annotations

import gzip
import os

import pytest
import zstandard

from barque.spi.errors import InvalidArgument, NotImplemented
from barque.spi.trees.compression import PIECE, detect, pieces

OCI = "application/vnd.oci.image.layer.v1.tar"
DOCKER = "application/vnd.docker.image.rootfs.diff.tar"
GZIP, ZSTD = b"\x1f\x8b\x08\x00\x00\x00", b"\x28\xb5\x2f\xfd\x00\x00"


@pytest.mark.parametrize(
    ("start", "media_type", "found"),
    [
        (GZIP, OCI + "+gzip", "gzip"),
        (GZIP, DOCKER + ".gzip", "gzip"),
        (ZSTD, OCI + "+zstd", "zstd"),
        (ZSTD, DOCKER + ".zstd", "zstd"),
        (b"\x50\x2a\x4d\x18\x00\x00", OCI + "+zstd", "zstd"),
        (b"etc/passwd", OCI, "plain"),
        (b"etc/passwd", DOCKER, "plain"),
        (b"", OCI, "plain"),
        (GZIP, "", "gzip"),
        (ZSTD, "", "zstd"),
        (b"etc/passwd", "", "plain"),
    ],
)
def test_detected(start, media_type, found):
    assert detect(start, media_type) == found


@pytest.mark.parametrize(
    ("start", "media_type"),
    [(GZIP, OCI), (GZIP, OCI + "+zstd"), (ZSTD, OCI + "+gzip"), (b"etc/passwd", OCI + "+gzip")],
)
def test_media_type_that_lies(start, media_type):
    with pytest.raises(InvalidArgument, match="the layer's media type says"):
        detect(start, media_type)


@pytest.mark.parametrize(
    ("start", "media_type"),
    [(b"BZh91AY", ""), (b"\xfd7zXZ\x00", OCI), (GZIP, OCI + "+gzip+encrypted"), (GZIP, "text/plain")],
)
def test_unsupported(start, media_type):
    with pytest.raises(NotImplemented):
        detect(start, media_type)


def content_of(path, data, media_type):
    path.write_bytes(data)
    with open(path, "rb") as file:
        parts = list(pieces(file.fileno(), media_type))
    assert all(0 < len(part) <= PIECE for part in parts)
    return b"".join(parts)


DATA = os.urandom(700_000) + bytes(3_000_000)


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (DATA, ""),
        (gzip.compress(DATA), "+gzip"),
        (gzip.compress(DATA[:1000]) + gzip.compress(b"") + gzip.compress(DATA[1000:]), "+gzip"),
        (zstandard.ZstdCompressor().compress(DATA), "+zstd"),
        (
            zstandard.ZstdCompressor().compress(DATA[:1000])
            + zstandard.ZstdCompressor().compress(DATA[1000:]),
            "+zstd",
        ),
        (
            zstandard.ZstdCompressor(write_checksum=True).compress(DATA)
            + b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip",
            "+zstd",
        ),
        (b"\x5f\x2a\x4d\x18\x04\x00\x00\x00skip" + zstandard.ZstdCompressor().compress(DATA), "+zstd"),
    ],
    ids=[
        "plain",
        "gzip",
        "gzip of members",
        "zstd",
        "zstd of frames",
        "zstd, skippable behind",
        "zstd, skippable before",
    ],
)
def test_content(tmp_path, data, suffix):
    assert content_of(tmp_path / "blob", data, OCI + suffix) == DATA


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(DATA)[:1000],
        gzip.compress(DATA)[:-4],
        gzip.compress(DATA) + b"garbage",
        GZIP + b"\xff" * 100,
    ],
    ids=["truncated", "without its trailer", "garbage behind", "garbage"],
)
def test_damaged_gzip(tmp_path, data):
    with pytest.raises(InvalidArgument, match="gzip data"):
        content_of(tmp_path / "blob", data, OCI + "+gzip")


def test_flipped_bit_in_gzip(tmp_path):
    data = bytearray(gzip.compress(DATA))
    data[len(data) // 2] ^= 1
    with pytest.raises(InvalidArgument, match="damaged gzip data"):
        content_of(tmp_path / "blob", bytes(data), OCI + "+gzip")


@pytest.mark.parametrize(
    "data", [ZSTD + b"\xff" * 100, zstandard.ZstdCompressor().compress(DATA) + b"garbage"]
)
def test_damaged_zstd(tmp_path, data):
    with pytest.raises(InvalidArgument, match="damaged zstd data"):
        content_of(tmp_path / "blob", data, OCI + "+zstd")


def test_zstd_window_that_would_take_too_much_memory(tmp_path):
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28, enable_ldm=1)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(b"x" * 100) + compressor.flush()
    with pytest.raises(InvalidArgument, match="damaged zstd data"):
        content_of(tmp_path / "blob", data, OCI + "+zstd")
