"""A worker's output through a pipe: all of it, or an error; and no worker that writes for nobody."""

import os
import time

import pytest

from barque.spi.errors import Internal
from barque.spi.trees.pool import WorkerPool
from barque.spi.trees.streaming import stream

PACKING = "barque_storage_overlay.packing"
SIZE = 6 << 20


@pytest.fixture
def pool(tmp_path):
    jail = tmp_path / "jail"
    jail.mkdir()
    return WorkerPool(PACKING, 2, 0.2, str(jail))


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    root.mkdir(mode=0o755)
    (root / "big").write_bytes(os.urandom(SIZE))
    os.utime(root / "big", (1, 1))
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def run(pool, tree, write, **fields):
    job = {"lower": [], "user_namespace": False, "place": "here", **fields}
    return stream(pool, job, (tree, tree), write, "packing")


def test_all_of_it_comes_in_pieces(pool, tree):
    pieces = []
    assert run(pool, tree, pieces.append)["entries"] >= 1
    assert sum(map(len, pieces)) >= SIZE + 512 + 1024
    assert max(map(len, pieces)) <= 1 << 20
    assert b"".join(pieces).endswith(bytes(1024))


def test_an_error_of_the_reader_passes_and_ends_the_job(pool, tree):
    def full(_data):
        raise OSError(28, "full")

    before = len(os.listdir("/proc/self/fd"))
    started = time.monotonic()
    with pytest.raises(OSError, match="full"):
        run(pool, tree, full)
    assert time.monotonic() - started < 20
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the worker's socket
    assert run(pool, tree, lambda _: None)["entries"] >= 1


def test_an_error_of_the_worker_is_raised(pool, tree):
    with pytest.raises(Internal, match="No such file"):
        run(pool, tree, lambda _: None, lower=["nothing"])
