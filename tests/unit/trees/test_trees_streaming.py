"""A worker's output through a pipe: all of it, or an error; and no worker that writes for nobody."""

import os
import time
from dataclasses import asdict

import pytest

from barque.spi.errors import NotFound
from barque.spi.trees import pack
from barque.spi.trees.pool import WorkerPool
from barque.spi.trees.streaming import stream

OPEN = os.O_RDONLY | os.O_DIRECTORY


@pytest.fixture
def pool(tmp_path):
    jail = tmp_path / "jail"
    jail.mkdir()
    return WorkerPool(pack.MODULE, 2, 0.2, str(jail))


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    root.mkdir()
    (root / "big").write_bytes(os.urandom(6 << 20))
    fd = os.open(root, OPEN)
    yield fd
    os.close(fd)


def job(*members):
    return asdict(pack.Pack(members or (("", ""),), "the tree"))


def test_all_of_it_comes(pool, tree):
    pieces = []
    assert stream(pool, job(), (tree,), pieces.append, "packing") == {"entries": 1}
    assert sum(map(len, pieces)) == 512 + 512 + 512 + (6 << 20) + 1024
    assert max(map(len, pieces)) <= 1 << 20


def test_an_error_of_the_reader_passes_and_ends_the_job(pool, tree):
    def full(_data):
        raise OSError(28, "full")

    before = len(os.listdir("/proc/self/fd"))
    started = time.monotonic()
    with pytest.raises(OSError, match="full"):
        stream(pool, job(), (tree,), full, "packing")
    assert time.monotonic() - started < 20
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the worker's socket
    assert stream(pool, job(), (tree,), lambda _: None, "packing") == {"entries": 1}


def test_an_error_of_the_worker_is_raised(pool, tree):
    with pytest.raises(NotFound, match="nothing"):
        stream(pool, job(("nothing", "x")), (tree,), lambda _: None, "packing")
