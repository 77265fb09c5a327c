"""Measuring a tree as du(1) does."""

import os
import subprocess
import tempfile
import time

import pytest

from barque.spi.trees import du


def of_du(path):
    out = subprocess.run(
        ["du", "-s", "-x", "--block-size=1", path], capture_output=True, check=True, text=True
    )
    return int(out.stdout.split()[0])


def measure(path, depths=None):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return du.measure(fd, depths or {})
    finally:
        os.close(fd)


def total(groups):
    return sum(group.files + group.other for group in groups.values())


@pytest.fixture
def tree(tmp_path):
    for name, size in (("a/one", 5000), ("a/sub/two", 70_000), ("b/three", 1)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes([1]) * size)
    os.link(tmp_path / "a/one", tmp_path / "b/again")
    with (tmp_path / "b/sparse").open("wb") as file:
        file.truncate(1 << 30)
    os.symlink("/", tmp_path / "b/link")
    os.symlink("x" * 200, tmp_path / "b/long-link")
    os.mkfifo(tmp_path / "b/fifo")
    return tmp_path


def test_the_sum_is_that_of_du(tree):
    assert total(measure(tree)) == of_du(tree)


def test_groups_are_as_deep_as_asked(tree):
    groups = measure(tree, {"a": 2})
    assert set(groups) == {"", "a", "a/one", "a/sub", "b"}
    assert groups["a/sub"].files == of_du(tree / "a/sub/two")
    assert groups["a/sub"].inodes == 2
    assert groups["a/one"].files + groups["b"].files == 8192 + 4096, "a file with two names counts once"


def test_a_tree_deeper_than_descriptors_reach(tmp_path):
    depth = 400
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        with open(
            "f", "wb", opener=lambda name, flags, fd=fd: os.open(name, flags, 0o600, dir_fd=fd)
        ) as file:
            file.write(b"x")
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    try:
        groups = measure(tmp_path)
        assert total(groups) == of_du(tmp_path)
        assert sum(group.inodes for group in groups.values()) == 1 + 2 * depth
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # too deep for pytest's own removal


def test_twenty_thousand_files_cost_less_than_a_second():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as root:  # in memory: what is looked at is not the disk
        for directory in range(100):
            os.mkdir(f"{root}/{directory}")
            for number in range(200):
                os.close(os.open(f"{root}/{directory}/{number}", os.O_CREAT | os.O_WRONLY))
        began = time.process_time()
        groups = measure(root, {str(n): 2 for n in range(100)})
        assert time.process_time() - began < 1.0
        assert sum(group.inodes for group in groups.values()) == 1 + 100 + 20_000
