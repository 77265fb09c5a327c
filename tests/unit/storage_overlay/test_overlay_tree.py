"""Trees that containers make: deep ones, linked ones."""

from __future__ import annotations

import os
import time

from barque.spi.trees import tree
from barque.spi.trees.trash import Trash


def make_deep(root, depth):
    """Directories in one another, `depth` of them, each with a file: deeper than a path name can say."""
    fd = os.open(root, os.O_RDONLY)
    for _level in range(depth):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.mkdir("directory", dir_fd=fd)
        inner = os.open("directory", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)


def remove(parent, name):
    fd = os.open(parent, os.O_RDONLY)
    try:
        tree.remove(fd, name)
    finally:
        os.close(fd)


def test_deep_tree_is_removed(tmp_path):
    victim = tmp_path / "parent/victim"
    victim.mkdir(parents=True)
    make_deep(victim, 3000)
    remove(tmp_path / "parent", "victim")
    assert os.listdir(tmp_path / "parent") == []


def test_deep_tree_is_measured_as_far_as_it_is_safe(tmp_path):
    make_deep(tmp_path, 1000)
    before = len(os.listdir("/proc/self/fd"))
    assert 2 * 200 < tree.measure(str(tmp_path)).inodes <= 2 * 1000
    assert len(os.listdir("/proc/self/fd")) <= before  # a collection may close somebody else's
    remove(tmp_path, "directory")


def test_links_are_not_followed(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_bytes(b"x" * 10_000)
    victim = tmp_path / "parent/victim"
    (victim / "d").mkdir(parents=True)
    (victim / "link").symlink_to(kept)
    (victim / "d/link").symlink_to(kept / "file")
    assert tree.measure(str(victim)).bytes == 0
    assert tree.measure(str(victim)).inodes == 3
    remove(tmp_path / "parent", "victim")
    assert (kept / "file").stat().st_size == 10_000


def test_removing_what_is_not_a_directory_or_not_there(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("/")
    for name in ("file", "link", "nothing"):
        remove(tmp_path, name)
    assert os.listdir(tmp_path) == []


def test_hard_links_count_once(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 8192)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").write_bytes(b"")
    os.sync()
    usage = tree.measure(str(tmp_path))
    assert usage.inodes == 2
    assert usage.bytes == (tmp_path / "a").stat().st_blocks * 512


def test_trash_empties_itself_and_what_an_earlier_daemon_left(tmp_path):
    (tmp_path / "trash/leftover/d").mkdir(parents=True)
    (tmp_path / "victim/d").mkdir(parents=True)
    (tmp_path / "victim/d/f").write_bytes(b"x")
    trash = Trash(str(tmp_path))
    assert trash.take(str(tmp_path / "victim"))
    assert not trash.take(str(tmp_path / "victim"))
    assert not (tmp_path / "victim").exists()
    deadline = time.monotonic() + 5
    while os.listdir(tmp_path / "trash"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
