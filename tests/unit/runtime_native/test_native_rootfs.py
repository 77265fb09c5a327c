"""Names in the container's root never lead out of it."""

from __future__ import annotations

import os
import random

import pytest

from barque.spi.errors import FailedPrecondition, NotFound, PermissionDenied
from barque_runtime_native.mounts.copy_up import copy_tree
from barque_runtime_native.mounts.masks import check_null, open_existing
from barque_runtime_native.mounts.rootfs import Root
from barque_runtime_native.process.program import find_program, home_of, why_not_executable


@pytest.fixture
def tree(tmp_path):
    """A root with a canary beside it; fails when the canary changed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("untouched")
    (tmp_path / "root").mkdir()
    yield tmp_path / "root"
    assert sorted(path.name for path in outside.iterdir()) == ["canary"]
    assert (outside / "canary").read_text() == "untouched"


@pytest.fixture
def root(tree):
    fd = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    yield Root(fd)
    os.close(fd)


def real(fd):
    path = os.readlink(f"/proc/self/fd/{fd}")
    os.close(fd)
    return path


@pytest.mark.row("S5")
@pytest.mark.parametrize(
    "target",
    ["../outside", "../../../../../../../../tmp", "/outside", "/../outside", "loop", "deep/../../outside"],
)
@pytest.mark.parametrize("below", ["", "/etc/resolv.conf"])
def test_links_stay_inside(root, tree, target, below):
    (tree / "link").symlink_to(target)
    (tree / "loop").symlink_to("loop")
    try:
        path = real(root.file(f"/link{below}") if below else root.directory("/link"))
    except OSError:
        return
    assert path.startswith(f"{tree}/")


@pytest.mark.row("S5")
def test_absolute_link_to_the_canary_makes_a_file_inside(root, tree):
    (tree / "etc").symlink_to(tree.parent / "outside")
    path = real(root.file("/etc/hosts"))
    assert path == f"{tree}{tree.parent}/outside/hosts"


def test_dangling_link_is_made_where_it_points(root, tree):
    (tree / "etc").mkdir()
    (tree / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub.conf")
    assert real(root.file("/etc/resolv.conf")) == f"{tree}/run/systemd/resolve/stub.conf"


def test_missing_directories_are_made_once(root, tree):
    assert real(root.directory("/a/b/c")) == f"{tree}/a/b/c"
    assert real(root.directory("a//b/./c/")) == f"{tree}/a/b/c"
    assert oct((tree / "a/b").stat().st_mode & 0o777) == "0o755"


def test_the_root_itself(root, tree):
    assert real(root.directory("/")) == str(tree)
    assert real(root.directory("/../..")) == str(tree)


def test_magic_links_are_refused(tmp_path):
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY)
    own = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="symbolic"):
            Root(fd).directory(f"/proc/self/fd/{own}")
    finally:
        os.close(own)
        os.close(fd)


def test_link_anywhere_is_refused_when_asked(root, tree):
    (tree / "real").mkdir()
    (tree / "proc").symlink_to("real")
    with pytest.raises(OSError, match="symbolic"):
        root.open("/proc", follow=False)


def test_what_does_not_exist_is_not_there_to_be_masked(root, tree):
    (tree / "file").write_text("")
    assert open_existing(root, "/nothing/below") == -1
    assert open_existing(root, "/file/below") == -1


@pytest.mark.row("S7")
def test_mask_source_that_is_not_the_null_device_is_refused(tmp_path):
    (tmp_path / "null").write_text("")
    for path, right in ((str(tmp_path / "null"), False), ("/dev/zero", False), ("/dev/null", True)):
        fd = os.open(path, os.O_PATH)
        try:
            if right:
                check_null(fd)
            else:
                with pytest.raises(FailedPrecondition, match="null device"):
                    check_null(fd)
        finally:
            os.close(fd)


def test_random_links_stay_inside(root, tree):
    """Some hundred trees of random links, each name opened for a mount."""
    chance = random.Random(7)
    parts = ["a", "b", "c", "..", "."]
    for _ in range(200):
        name = "".join(chance.choice("abc") for _ in range(2))
        target = chance.choice(["", "/"]) + "/".join(
            chance.choice(parts) for _ in range(chance.randrange(1, 5))
        )
        if not os.path.lexists(tree / name):
            (tree / name).symlink_to(target)
        wanted = "/".join(chance.choice([name, *parts]) for _ in range(chance.randrange(1, 5)))
        try:
            path = real(root.directory(wanted))
        except OSError:
            continue
        assert path == str(tree) or path.startswith(f"{tree}/")


# tmpcopyup


def test_copy_of_a_tree(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "d").mkdir(parents=True)
    target.mkdir()
    (source / "d/f").write_bytes(b"x" * 100000)
    (source / "d/f").chmod(0o741)
    (source / "l").symlink_to("/etc/passwd")
    source.chmod(0o1777)
    one, two = os.open(source, os.O_RDONLY), os.open(target, os.O_RDONLY)
    try:
        copy_tree(one, two)
    finally:
        os.close(one)
        os.close(two)
    assert (target / "d/f").read_bytes() == b"x" * 100000
    assert (target / "d/f").stat().st_mode & 0o777 == 0o741
    assert os.readlink(target / "l") == "/etc/passwd"
    assert target.stat().st_mode & 0o7777 == 0o1777


# Programs


def test_program_is_found_in_the_path(tmp_path):
    (tmp_path / "tool").write_text("")
    (tmp_path / "tool").chmod(0o755)
    assert find_program("tool", f"/nowhere::relative:{tmp_path}/") == f"{tmp_path}/tool"


def test_program_errors_are_dockers(tmp_path):
    with pytest.raises(NotFound) as missing:
        find_program("tool", str(tmp_path))
    assert missing.value.message.endswith('exec: "tool": executable file not found in $PATH')
    assert missing.value.exit_code == 127
    with pytest.raises(NotFound) as absent:
        find_program(f"{tmp_path}/x", "")
    assert absent.value.message.endswith("no such file or directory")
    (tmp_path / "plain").write_text("")
    with pytest.raises(PermissionDenied) as denied:
        find_program(f"{tmp_path}/plain", "")
    assert denied.value.message.endswith(f'exec: "{tmp_path}/plain": permission denied')
    assert denied.value.exit_code == 126


def test_program_in_the_working_directory_is_not_found(tmp_path, monkeypatch):
    (tmp_path / "tool").write_text("")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound):
        find_program("tool", ".::")


def test_directory_is_not_executable(tmp_path):
    assert why_not_executable(str(tmp_path)) == 21


def test_home_of_root():
    assert home_of(0) == "/root"
    assert home_of(4294967294) == "/"
