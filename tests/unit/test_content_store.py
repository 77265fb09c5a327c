"""The content store: nothing wrong is ever visible, what was interrupted is resumed (rows R28, R29)."""

import hashlib
import os
import threading

import pytest

from barque.spi.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
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


def test_chunks_give_what_is_there_from_any_offset(store):
    store.put(DIGEST, DATA)
    pieces = list(store.chunks(DIGEST))
    assert b"".join(pieces) == DATA
    assert max(map(len, pieces)) <= 1 << 20
    assert b"".join(store.chunks(DIGEST, 1_100_000)) == DATA[1_100_000:]
    with pytest.raises(NotFound, match="sha256:0000"):
        store.chunks("sha256:" + "0" * 64)


@pytest.mark.row("R24")
@pytest.mark.parametrize("damage", [DATA[:-1] + b"!", b"!" + DATA[1:], DATA[:-5], DATA + b"x", b""])
def test_chunks_tell_damage_before_the_last_piece_is_given(store, damage):
    store.put(DIGEST, DATA)
    store.path(DIGEST).write_bytes(damage)
    given = bytearray()

    def read():
        for piece in store.chunks(DIGEST):
            given.extend(piece)

    with pytest.raises(InvalidArgument, match=DIGEST):
        read()
    assert len(given) < max(1, len(damage))
    assert not store.intact(DIGEST)


def test_a_damaged_small_blob_is_replaced(store):
    store.put(DIGEST, DATA)
    store.path(DIGEST).write_bytes(b"!" + DATA[1:])
    store.put(DIGEST, DATA)
    assert store.read(DIGEST) == DATA


def test_content_without_a_known_digest_is_published_or_gone(store, tmp_path):
    with store.ingesting() as writer:
        writer.write(DATA[:300_000])
        writer.write(DATA[300_000:])
        assert (writer.digest, writer.size) == (DIGEST, len(DATA))
        writer.publish()
    assert store.read(DIGEST) == DATA
    with store.ingesting() as writer:
        writer.write(b"given up")
    assert residue(tmp_path) == [DIGEST[7:]]


BIG = bytes(range(256)) * (1 << 15) * 2  # 16 MiB: hashed by a thread of its own, allocated ahead
BIG_DIGEST = "sha256:" + hashlib.sha256(BIG).hexdigest()


def test_a_big_blob_is_hashed_behind_the_writer(store):
    with store.writing(BIG_DIGEST, len(BIG), lambda _: None) as writer:
        for start in range(0, len(BIG), 100_000):
            writer.write(memoryview(BIG)[start : start + 100_000])
    assert store.intact(BIG_DIGEST)
    assert not any(thread.name == "hash" for thread in threading.enumerate())


@pytest.mark.row("R29")
def test_a_big_blob_is_resumed_and_takes_no_more_room_than_it_has(store, tmp_path):
    partial = tmp_path / "ingest" / BIG_DIGEST[7:]

    def interrupted():
        with store.writing(BIG_DIGEST, len(BIG), lambda _: None) as writer:
            writer.write(BIG[:5_000_000])
            assert partial.stat().st_blocks * 512 >= len(BIG), "allocated before the first byte"
            raise Unavailable("lost")

    with pytest.raises(Unavailable):
        interrupted()
    assert partial.stat().st_size == 5_000_000
    assert partial.stat().st_blocks * 512 < 5_100_000
    assert [(p.digest, p.bytes) for p in store.partials()] == [(BIG_DIGEST, 5_000_000)]
    with store.writing(BIG_DIGEST, len(BIG), lambda _: None) as writer:
        assert writer.offset == 5_000_000
        writer.write(BIG[5_000_000:])
    assert store.intact(BIG_DIGEST)


@pytest.mark.row("R28")
def test_a_wrong_byte_in_what_was_resumed_is_found(store, tmp_path):
    (tmp_path / "ingest" / BIG_DIGEST[7:]).write_bytes(b"!" + BIG[1:9_000_000])
    with (
        pytest.raises(InvalidArgument, match="another digest"),
        store.writing(BIG_DIGEST, len(BIG), lambda _: None) as writer,
    ):
        writer.write(BIG[9_000_000:])
    assert residue(tmp_path) == []


@pytest.mark.row("R18")
def test_a_blob_that_cannot_fit_is_refused_before_its_first_byte(store, tmp_path):
    size = 1 << 50
    with (
        pytest.raises(ResourceExhausted, match=rf"{DIGEST} \({size} bytes\) cannot be written"),
        store.writing(DIGEST, size, lambda _: None) as writer,
    ):
        writer.write(b"first")
    assert sum(p.stat().st_blocks for p in tmp_path.rglob("*") if p.is_file()) == 0


@pytest.mark.row("R29")
def test_sweep_removes_what_a_killed_daemon_left_and_keeps_what_can_be_resumed(store, tmp_path):
    (tmp_path / "ingest" / ".new-dead-0").write_bytes(b"x")
    (tmp_path / "blobs" / "sha256" / f".{'0' * 64}.tmp").write_bytes(b"x")
    partial = tmp_path / "ingest" / DIGEST[7:]
    partial.write_bytes(DATA[:10])
    for path in tmp_path.rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))
    later = ContentStore(tmp_path)
    with later.ingesting() as writer:
        writer.write(b"in flight")
        later.sweep()
        writer.publish()
    assert residue(tmp_path) == sorted([DIGEST[7:], writer.digest[7:]])


@pytest.mark.row("R35")
def test_what_comes_in_during_an_operation_is_leased_to_it(store):
    with store.leases.held() as lease:
        store.put(DIGEST, DATA)
        assert DIGEST in lease.names
        assert not store.collect(DIGEST, needed=lambda: False)
        with store.leases.held([DIGEST]):
            assert not store.collect(DIGEST, needed=lambda: False, but=lease)
    assert not store.collect(DIGEST, needed=lambda: True)
    assert store.collect(DIGEST, needed=lambda: False)
    assert not store.has(DIGEST)


@pytest.mark.row("R35")
def test_a_partial_that_somebody_writes_is_not_dropped(store):
    def interrupted():
        with store.writing(DIGEST, len(DATA), lambda _: None) as writer:
            writer.write(DATA[:10])
            assert not store.drop_partial(DIGEST)
            raise Unavailable("lost")

    with pytest.raises(Unavailable):
        interrupted()
    assert store.drop_partial(DIGEST)
    assert store.partials() == ()
