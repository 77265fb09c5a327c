"""The bytes of an upload: read once, verified at the end, begun anew where a request failed; and bytes a second."""

from __future__ import annotations

import threading
import time

import pytest

from barque.spi.errors import InvalidArgument, NotFound, Unavailable
from barque_image_registry.throttle import Throttle
from barque_image_registry.uploadsource import Blob, SourceFailed, UploadSource

DATA = bytes(range(256)) * 40


class Store:
    """Pieces of 1000 bytes, and where reading began."""

    def __init__(self, data=DATA, error=None):
        self.data, self.error, self.begun = data, error, []

    def read(self, offset):
        self.begun.append(offset)
        for position in range(offset, len(self.data), 1000):
            yield self.data[position : position + 1000]
        if self.error:
            raise self.error


def source(store, told=None):
    moved = told.append if told is not None else lambda _: None
    return UploadSource(Blob("sha256:x", len(DATA), store.read), Throttle(0), moved, lambda: None)


def joined(pieces):
    return b"".join(bytes(piece) for piece in pieces)


def test_chunks_that_cut_pieces_are_one_reading():
    store = Store()
    upload = source(store)
    parts = [
        joined(upload.pieces(start, min(1500, len(DATA) - start))) for start in range(0, len(DATA), 1500)
    ]
    assert b"".join(parts) == DATA
    assert store.begun == [0]


@pytest.mark.parametrize("again", [0, 1000, 700, 3000])
def test_request_that_failed_on_the_way_makes_the_next_read_anew(again):
    store = Store()
    upload = source(store)
    pieces = upload.pieces(0, 3000)
    next(pieces)
    next(pieces)
    pieces.close()
    assert joined(upload.pieces(again, 3000)) == DATA[again : again + 3000]
    assert store.begun == [0, again]


def test_error_of_the_store_is_carried_out_of_the_request():
    error = InvalidArgument("content sha256:x is damaged")
    with pytest.raises(SourceFailed) as caught:
        joined(source(Store(DATA[:5000], error)).pieces(0, len(DATA)))
    assert caught.value.cause is error
    with pytest.raises(SourceFailed) as caught:
        joined(source(Store(DATA[:5000])).pieces(0, len(DATA)))
    assert "ends before" in str(caught.value.cause)


def test_store_that_lacks_the_blob():
    def missing(offset):
        raise NotFound("content sha256:x is not in the store")

    upload = UploadSource(Blob("sha256:x", 10, missing), Throttle(0), lambda _: None, lambda: None)
    with pytest.raises(SourceFailed) as caught:
        joined(upload.pieces(0, 10))
    assert isinstance(caught.value.cause, NotFound)


def test_position_is_told_to_the_end():
    told = []
    joined(source(Store(), told=told).pieces(0, len(DATA)))
    assert told == [len(DATA)]


def test_all_who_share_a_throttle_share_its_rate():
    throttle = Throttle(100_000)
    started = time.monotonic()
    threads = [threading.Thread(target=throttle.take, args=(10_000, lambda: None)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.45 <= time.monotonic() - started < 5


def test_who_waits_for_the_rate_can_be_cancelled():
    def check():
        raise Unavailable("cancelled")

    started = time.monotonic()
    with pytest.raises(Unavailable):
        Throttle(1).take(1000, check)
    assert time.monotonic() - started < 1
