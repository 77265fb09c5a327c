"""Row R41: whatever bytes come, the reader answers with entries or with InvalidArgument, and soon."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from barque.spi.errors import InvalidArgument
from barque.spi.trees.compression import pieces
from barque.spi.trees.pax import parse_records
from barque.spi.trees.reader import TarReader
from barque.testing.layers import LayerTar

pytestmark = pytest.mark.row("R41")


def read(data, size):
    """Everything in the tar; the number of bytes its payloads had."""
    stream = io.BytesIO(data)
    reader = TarReader(lambda: stream.read(size), 10_000)
    total = 0
    try:
        for _entry in reader:
            total += sum(len(piece) for piece in reader.payload())
    except InvalidArgument:
        return None
    return total


def sample():
    """A tar with everything in it."""
    layer = (
        LayerTar()
        .directory("d")
        .file("d/f", b"x" * 700, {"user.a": b"b"})
        .symlink("s", "t" * 200)
        .hardlink("h", "d/f")
    )
    gnu = tarfile.TarInfo("n" * 200)
    gnu.size = 1 << 40
    layer.raw(gnu.tobuf(tarfile.GNU_FORMAT)[:-512])
    sparse = tarfile.TarInfo("sparse")
    sparse.size = 512
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9999"}
    layer.raw(sparse.tobuf(tarfile.PAX_FORMAT) + b"1\n9000\n0\n".ljust(512, b"\0"))
    return layer.device("c", 1, 3).whiteout("w").content()


SAMPLE = sample()
EDIT = st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=16))


def with_right_sums(data):
    """Every block that could be a header gets its checksum, so that edits reach what lies behind that check."""
    blocks = []
    for start in range(0, len(data), 512):
        block = bytearray(data[start : start + 512])
        if len(block) == 512 and any(block):
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
        blocks.append(bytes(block))
    return b"".join(blocks)


@given(st.lists(EDIT, max_size=8), st.booleans(), st.sampled_from([100, 512, 4096]))
@settings(max_examples=600, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
def test_changed_tars(edits, sums, size):
    data = bytearray(SAMPLE)
    for position, replacement in edits:
        data[position : position + len(replacement)] = replacement
    read(with_right_sums(bytes(data)) if sums else bytes(data), size)


@given(st.integers(0, len(SAMPLE)), st.integers(0, len(SAMPLE)), st.integers(0, len(SAMPLE)))
@settings(max_examples=200, deadline=5000)
def test_rearranged_tars(start, middle, end):
    read(SAMPLE[start:end] + SAMPLE[middle:], 1000)


@given(st.lists(st.binary(min_size=512, max_size=512), max_size=6))
@settings(max_examples=300, deadline=5000)
def test_any_blocks(blocks):
    read(with_right_sums(b"".join(blocks)), 512)


SCRAPS = st.text(alphabet="0123 =\na", max_size=12).map(str.encode)


@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), st.text(max_size=40)), max_size=5), SCRAPS)
@settings(max_examples=300, deadline=5000)
def test_any_records(records, tail):
    data = b"".join(
        record(key.encode("utf-8", "replace") + b"=" + value.encode("utf-8", "replace"))
        for key, value in records
    )
    try:
        parse_records(data + tail, b"x")
    except InvalidArgument:
        return


def record(text):
    length = len(text) + 3
    while len(b"%d %s\n" % (length, text)) != length:
        length += 1
    return b"%d %s\n" % (length, text)


SPARSE_KEYS = st.sampled_from(
    [
        "GNU.sparse.major",
        "GNU.sparse.minor",
        "GNU.sparse.map",
        "GNU.sparse.size",
        "GNU.sparse.offset",
        "GNU.sparse.numbytes",
        "GNU.sparse.realsize",
        "size",
    ]
)
NUMBERS = st.one_of(
    st.sampled_from(["0", "1", "", "-1", "0,0", "512,512", "1,0", "9" * 19, "9" * 30]),
    st.integers(0, 2000).map(str),
)


@given(st.lists(st.tuples(SPARSE_KEYS, NUMBERS), max_size=7), st.binary(max_size=600))
@settings(max_examples=600, deadline=5000)
def test_any_sparse_maps(records, payload):
    text = b"".join(record(f"{key}={value}".encode()) for key, value in records)
    extended = tarfile.TarInfo("pax")
    extended.type, extended.size = b"x", len(text)
    file = tarfile.TarInfo("file")
    file.size = len(payload)
    data = extended.tobuf(tarfile.USTAR_FORMAT) + text.ljust(-(-len(text) // 512) * 512, b"\0")
    read(data + file.tobuf(tarfile.USTAR_FORMAT) + payload + bytes(1024), 777)


@given(
    st.sampled_from(
        ["application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd"]
    ),
    st.binary(max_size=400),
)
@settings(max_examples=300, deadline=5000)
def test_any_compressed_bytes(tmp_path_factory, media_type, data):
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.write_bytes((b"\x1f\x8b\x08" if "gzip" in media_type else b"\x28\xb5\x2f\xfd") + data)
    with open(path, "rb") as file:
        try:
            assert sum(len(piece) for piece in pieces(file.fileno(), media_type)) < 100_000_000
        except InvalidArgument:
            return
