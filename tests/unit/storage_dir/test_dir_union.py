"""What layers with whiteouts kept by names show together; places in which things appear by a rename. No root needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from barque.spi.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from barque.spi.trees.merge import Merge, merge
from barque.spi.trees.places import Places, check_diff_id
from barque.spi.trees.union import close_all, open_children, open_layers, visible

A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def layers(tmp_path):
    """Makes layers from lists of paths; one that ends in a slash is a directory."""

    def make(**trees):
        for digest, paths in trees.items():
            root = tmp_path / (digest * 64) / "fs"
            root.mkdir(parents=True)
            for path in paths:
                target = root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.mkdir(exist_ok=True) if path.endswith("/") else target.write_text(digest)
        return tmp_path

    return make


def merged(directory: Path, *digests: str) -> dict[str, str]:
    """Path to content of what the union shows, copied."""
    target, links = directory / "out", directory / "links"
    fds = []
    for path in (directory, target, links):
        path.mkdir(exist_ok=True)
        fds.append(os.open(path, os.O_RDONLY))
    try:
        merge(Merge(digests, "here"), *fds)
    finally:
        close_all(fds)
    assert list(links.iterdir()) == []
    return {
        str(path.relative_to(target)): path.read_text() if path.is_file() else ""
        for path in target.rglob("*")
    }


def test_upper_files_win_and_directories_merge(layers):
    directory = layers(a=["d/low", "d/both"], b=["d/both", "d/high"])
    assert merged(directory, A, B) == {"d": "", "d/low": "a", "d/both": "b", "d/high": "b"}


def test_a_whiteout_hides_what_is_below_and_not_what_is_beside_it(layers):
    directory = layers(a=["x/old", "y", "z"], b=[".wh.x", "x/new", ".wh.y"])
    assert merged(directory, A, B) == {"x": "", "x/new": "b", "z": "a"}


def test_an_opaque_directory_hides_all_below_it_at_any_depth(layers):
    directory = layers(a=["d/e/old", "d/old"], b=["d/.wh..wh..opq", "d/e/new"], c=["d/top"])
    assert merged(directory, A, B, C) == {"d": "", "d/e": "", "d/e/new": "b", "d/top": "c"}


def test_a_file_between_two_directories_ends_the_merge(layers):
    directory = layers(a=["d/deep"], b=["d"], c=["d/top"])
    assert merged(directory, A, B, C) == {"d": "", "d/top": "c"}


def test_a_layer_given_twice_counts_where_it_is_higher(layers):
    directory = layers(a=["x"], b=[".wh.x"])
    assert merged(directory, A, B, A) == {"x": "a"}


def test_marks_are_never_shown(layers):
    directory = layers(a=[".wh.gone", "d/.wh..wh..opq", "d/.wh.x"])
    assert merged(directory, A) == {"d": ""}


def test_links_of_a_layer_are_not_followed(layers, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("host")
    directory = layers(a=["d/file"], b=[])
    (directory / B / "fs/d").symlink_to(secret)
    merged(directory, A, B)
    assert os.readlink(directory / "out/d") == str(secret)
    assert [path.name for path in (directory / "out").iterdir()] == ["d"]


def test_hard_links_stay_together_across_directories(layers):
    directory = layers(a=["one/x"])
    (directory / A / "fs/two").mkdir()
    os.link(directory / A / "fs/one/x", directory / A / "fs/two/y")
    merged(directory, A)
    assert (directory / "out/one/x").samefile(directory / "out/two/y")
    assert (directory / "out/one/x").stat().st_nlink == 2


def test_descriptors_are_closed(layers, tmp_path):
    directory = layers(a=["d/e/f"], b=["d/e/g"])
    before = len(os.listdir("/proc/self/fd"))
    merged(directory, A, B)
    fd = os.open(directory, os.O_RDONLY)
    with pytest.raises(FileNotFoundError):
        open_layers(fd, (A, "d" * 64))
    fds = open_layers(fd, (A, B))
    found = visible(fds)["d"]
    close_all((fd, *open_children("d", found), *fds))
    assert len(os.listdir("/proc/self/fd")) == before


# -- places -----------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path):
    return Places(str(tmp_path / "storage"))


def test_a_relative_root_is_refused():
    with pytest.raises(FailedPrecondition, match="storage cannot live in"):
        Places("here")


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:" + "A" * 64, A, f"sha256:{A}\n"])
def test_what_is_no_diff_id_is_refused(text):
    with pytest.raises(InvalidArgument, match="invalid diff id"):
        check_diff_id(text)


def test_scratch_that_was_not_published_goes(places):
    with places.scratch() as scratch:
        Path(scratch, "file").touch()
    assert os.listdir(places.tmp) == []


def test_a_snapshot_is_published_once(places):
    for attempt in range(2):
        with places.scratch() as scratch:
            Path(scratch, "file").touch()
            if attempt:
                with pytest.raises(AlreadyExists):
                    places.publish_snapshot(scratch, "c1")
            else:
                places.publish_snapshot(scratch, "c1")
    assert places.keys() == ("c1",)
    assert places.existing_snapshot("c1") == places.snapshot("c1")
    places.remove_snapshot("c1")
    with pytest.raises(NotFound):
        places.existing_snapshot("c1")


def test_leftovers_go_and_calls_in_flight_stay(places):
    Path(places.tmp, "old").mkdir()
    with places.scratch() as scratch:
        places.sweep()
        assert os.listdir(places.tmp) == [os.path.basename(scratch)]
