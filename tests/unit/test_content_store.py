"""The content store: nothing wrong is ever visible, what was interrupted is resumed (rows R28, R29)."""

import hashlib
import threading

import pytest

from barque.spi.errors import InvalidArgument, NotFound, Unavailable
from barque.store.content import ContentStore

DATA = bytes(range(256)) * 5000
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path)


def residue(tmp_path):
    return sorted(p.name for p in tmp_path.rglob("*") if p.is_file())


SIZE = len(DATA)


def write(store, data):
    with store.writing(DIGEST, SIZE, lambda _: None) as writer:
        writer.write(data)


def test_a_blob_is_there_after_it_was_verified(store, tmp_path):
    write(store, DATA)
    assert store.has(DIGEST)
    assert store.path(DIGEST).read_bytes() == DATA
    assert list(store.digests()) == [DIGEST]


@pytest.mark.row("R28")
@pytest.mark.parametrize("data", [DATA[:-1] + b"x", DATA[:-1], DATA + b"x"])
def test_wrong_bytes_are_never_visible(store, tmp_path, data):
    with pytest.raises(InvalidArgument):
        write(store, data)
    assert not store.has(DIGEST)
    with pytest.raises(NotFound):
        store.read(DIGEST)


@pytest.mark.row("R29")
def test_an_interrupted_blob_is_resumed(store):
    def interrupted():
        with store.writing(DIGEST, len(DATA), lambda _: None) as writer:
            writer.write(DATA[:70000])
            raise Unavailable("connection lost")

    with pytest.raises(Unavailable):
        interrupted()
    with store.writing(DIGEST, len(DATA), lambda _: None) as writer:
        assert writer.offset == 70000
        writer.write(DATA[70000:])
    assert store.read(DIGEST) == DATA


@pytest.mark.row("R29")
def test_a_source_that_cannot_resume_restarts(store):
    def interrupted():
        with store.writing(DIGEST, len(DATA), lambda _: None) as writer:
            writer.write(b"garbage")
            raise Unavailable("lost")

    with pytest.raises(Unavailable):
        interrupted()
    with store.writing(DIGEST, len(DATA), lambda _: None) as writer:
        writer.restart()
        writer.write(DATA)
    assert store.has(DIGEST)


@pytest.mark.row("R33")
def test_two_writers_fetch_once(store):
    writes = []

    def pull():
        with store.writing(DIGEST, len(DATA), lambda _: None) as writer:
            if writer is not None:
                writes.append(1)
                writer.write(DATA)

    threads = [threading.Thread(target=pull) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writes == [1]


@pytest.mark.row("S23")
@pytest.mark.parametrize(
    "digest", ["sha256:../../etc/passwd", "md5:" + "0" * 32, "sha256:" + "A" * 64, "x", "sha256:" + "0" * 63]
)
def test_digests_that_are_none_are_refused(store, digest):
    with pytest.raises(InvalidArgument):
        store.path(digest)
    with pytest.raises(InvalidArgument):
        store.put(digest, b"")


def test_a_damaged_small_blob_is_told(store):
    store.put(DIGEST, DATA)
    store.path(DIGEST).write_bytes(DATA[:-1] + b"!")
    with pytest.raises(InvalidArgument, match="damaged"):
        store.read(DIGEST)
