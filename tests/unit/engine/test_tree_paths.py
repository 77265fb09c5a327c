"""Paths that clients name in containers."""

import os
import stat

import pytest

from barque.engine.files import paths as tree_paths
from barque.spi.errors import InvalidArgument, NotFound


@pytest.mark.parametrize(
    ("path", "wanted", "name"),
    [
        ("/", "/", "/"),
        ("//", "/", "/"),
        ("/.", "/.", "."),
        (".", "/.", "."),
        ("data", "/data", "data"),
        ("/data/", "/data/", "data"),
        ("/data/.", "/data/.", "."),
        ("/data/sub/..", "/data", "data"),
        ("../../etc/passwd", "/etc/passwd", "passwd"),
        ("/a//b/./c", "/a/b/c", "c"),
        ("...", "/...", "..."),
        ("a/..", "/", "/"),
    ],
)
def test_paths_are_absolute_and_keep_what_asserts_a_directory(path, wanted, name):
    assert tree_paths.normalised(path) == wanted
    assert tree_paths.shown_name(wanted) == name


def test_a_nul_is_refused():
    with pytest.raises(InvalidArgument):
        tree_paths.normalised("/a\0b")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "outside").write_text("outside")
    top = tmp_path / "root"
    (top / "d/sub").mkdir(parents=True)
    (top / "d/f").write_text("12345")
    links = {"lf": "f", "abs": "/d/sub", "up": "../../../../d/f", "dang": "/no/such", "out": str(tmp_path / "outside"), "loop": "loop",
             "chain": "abs/../lf"}  # fmt: skip
    for name, target in links.items():
        (top / "d" / name).symlink_to(target)
    fd = os.open(top, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def stat_of(root, path):
    path = tree_paths.normalised(path)
    with tree_paths.opened(root, path, "c1") as (directory, name):
        return tree_paths.describe(root, path, directory, name)


def test_a_stat_is_of_the_link_itself_but_for_a_slash(root):
    assert stat.S_ISLNK(stat_of(root, "/d/abs")["mode"])
    assert stat.S_ISDIR(stat_of(root, "/d/abs/")["mode"])
    assert stat_of(root, "/d/abs/")["name"] == "abs"
    assert stat_of(root, "/d/f")["size"] == 5


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/d/lf", "/d/f"),
        ("/d/abs", "/d/sub"),
        ("/d/up", "/d/f"),
        ("/d/dang", "/no/such"),
        ("/d/chain", "/d/f"),
        ("/d/f", ""),
    ],
)
def test_a_link_target_is_resolved_in_the_container(root, path, target):
    assert stat_of(root, path)["link_target"] == target


def test_a_link_out_of_the_container_leads_into_it(root, tmp_path):
    assert stat_of(root, "/d/out")["link_target"] == str(tmp_path / "outside")
    with pytest.raises(NotFound, match=r"Could not find the file /d/out/\. in container c1"):
        stat_of(root, "/d/out/.")


@pytest.mark.parametrize("path", ["/nope/x", "/d/dang/x", "/nope/"])
def test_what_is_not_there(root, path):
    with pytest.raises(NotFound, match=f"Could not find the file {path} in container c1"):
        stat_of(root, path)


@pytest.mark.parametrize("path", ["/d/f/", "/d/f/x", "/d/loop/x"])
def test_what_goes_through_something_else_than_a_directory(root, path):
    with pytest.raises(InvalidArgument), tree_paths.opened(root, path, "c1"):
        pass
