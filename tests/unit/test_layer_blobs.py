"""New layers: one pass makes blob, digest and diff id; what fails leaves nothing."""

import gzip
import hashlib
import os

import pytest

from barque.engine.images.layerblobs import EMPTY_DIFF_ID, store_layer
from barque.store.content import ContentStore


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path)


def test_digest_size_and_diff_id_are_those_of_what_was_written(store):
    pieces = [os.urandom(100_000), bytes(1 << 20), b"", b"end"]

    def pack(write):
        for piece in pieces:
            write(piece)

    layer = store_layer(store, pack)
    blob = store.path(layer.digest).read_bytes()
    assert layer.digest == f"sha256:{hashlib.sha256(blob).hexdigest()}"
    assert layer.size == len(blob)
    assert gzip.decompress(blob) == b"".join(pieces)
    assert layer.diff_id == f"sha256:{hashlib.sha256(b''.join(pieces)).hexdigest()}"


def test_the_header_of_the_blob_tells_neither_time_nor_name(store):
    blob = store.path(store_layer(store, lambda write: write(b"x" * 5000)).digest).read_bytes()
    assert blob[:10] == bytes.fromhex("1f8b08000000000000ff")
    assert store_layer(store, lambda write: [write(b"x" * 2500), write(b"x" * 2500)]).diff_id


def test_a_failure_leaves_nothing(store, tmp_path):
    def pack(write):
        write(os.urandom(1 << 20))
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store_layer(store, pack)
    assert list(store.digests()) == []
    assert os.listdir(tmp_path / "ingest") == []


def test_an_empty_tar_is_no_blob(store):
    assert store_layer(store, lambda write: write(bytes(1024))).diff_id == EMPTY_DIFF_ID
    assert list(store.digests()) == []
