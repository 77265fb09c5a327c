"""What a layer looks like on the disk once it is unpacked."""

from __future__ import annotations

import gzip
import os
import stat
import subprocess

import pytest
from overlay_helpers import unpack_here

from barque.spi.errors import InvalidArgument
from barque.spi.storage import LayerApply
from barque.spi.trees import tree
from barque.testing import need
from barque.testing.layers import MEDIA_TYPES, LayerTar

pytestmark = pytest.mark.root


@pytest.fixture
def unpacked(tmp_path):
    """Unpack a layer; the path of its root."""

    def unpack(layer):
        usage = unpack_here(layer.store(tmp_path), tmp_path / "layer")
        assert usage == tree.measure(str(tmp_path / "layer/fs"))
        return tmp_path / "layer/fs"

    return unpack


def is_whiteout(path):
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path):
    return "trusted.overlay.opaque" in os.listxattr(path)


def test_every_kind_of_entry(unpacked):
    root = unpacked(
        LayerTar()
        .directory("d", mode=0o2750, uid=1, gid=2, mtime=1000)
        .file("d/f", b"data", mode=0o640, uid=3, gid=4, mtime=2000)
        .symlink("d/s", "f", uid=5, gid=6, mtime=3000)
        .hardlink("h", "d/f")
        .fifo("p", mode=0o600)
        .device("c", 1, 3, mode=0o666, uid=7)
        .device("b", 7, 9, block=True, mode=0o660)
    )
    directory, file, link = (root / "d").stat(), (root / "d/f").stat(), (root / "d/s").lstat()
    assert (stat.S_IMODE(directory.st_mode), directory.st_uid, directory.st_gid, directory.st_mtime) == (
        0o2750,
        1,
        2,
        1000,
    )
    assert (stat.S_IMODE(file.st_mode), file.st_uid, file.st_gid, file.st_mtime) == (0o640, 3, 4, 2000)
    assert (link.st_uid, link.st_gid, link.st_mtime) == (5, 6, 3000)
    assert (root / "h").samefile(root / "d/f")
    assert stat.S_ISFIFO((root / "p").stat().st_mode)
    assert (root / "c").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISBLK((root / "b").stat().st_mode)


def test_attributes_of_the_root(unpacked):
    root = unpacked(LayerTar().directory("./", mode=0o700, uid=9, mtime=1000).file("a"))
    status = root.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o700, 9, 1000)


def test_missing_parents_are_made(unpacked):
    root = unpacked(LayerTar().file("a/b/c/f", b"x"))
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755
    assert (root / "a/b/c/f").read_bytes() == b"x"


def test_parents_through_a_link_of_the_layer(unpacked):
    root = unpacked(
        LayerTar()
        .directory("usr/lib")
        .symlink("lib", "usr/lib")
        .symlink("abs", "/usr")
        .file("lib/a", b"1")
        .file("abs/b", b"2")
    )
    assert (root / "usr/lib/a").read_bytes() == b"1"
    assert (root / "usr/b").read_bytes() == b"2"


def test_a_later_entry_replaces_an_earlier_one(unpacked):
    root = unpacked(
        LayerTar()
        .file("a", b"old").file("a", b"new", mode=0o600)
        .directory("b").file("b/x").file("b", b"file")
        .file("c").directory("c").file("c/y", b"in")
        .directory("d", mode=0o700).file("d/kept").directory("d", mode=0o711)
        .file("e", b"1").hardlink("f", "e").file("e", b"2")
    )  # fmt: skip
    assert (root / "a").read_bytes() == b"new"
    assert (root / "b").read_bytes() == b"file"
    assert (root / "c/y").read_bytes() == b"in"
    assert (root / "d/kept").exists()
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o711
    assert ((root / "e").read_bytes(), (root / "f").read_bytes()) == (b"2", b"1")


def test_attributes_follow_the_directory_and_not_the_name(unpacked):
    root = unpacked(
        LayerTar().directory("a", mode=0o700).directory("b", mode=0o711).file("a").symlink("a", "b")
    )
    assert stat.S_IMODE((root / "b").stat().st_mode) == 0o711


def test_whiteouts(unpacked):
    root = unpacked(LayerTar().whiteout("a").whiteout("d/b").opaque("e").file("e/new"))
    assert is_whiteout(root / "a")
    assert is_whiteout(root / "d/b")
    assert is_opaque(root / "e")
    assert not is_opaque(root / "d")
    assert {path.name for path in (root / "e").iterdir()} == {"new"}


@pytest.mark.parametrize("order", ["whiteout first", "whiteout last"])
def test_a_whiteout_and_an_entry_of_its_name(unpacked, order):
    """The entry is this layer's, the whiteout speaks of the layers below: a file stays, a directory is opaque."""
    layer = LayerTar()
    if order == "whiteout first":
        layer.whiteout("f").whiteout("d").whiteout("i")
    layer.file("f", b"new").directory("d").file("d/x").file("i/implicit")
    if order == "whiteout last":
        layer.whiteout("f").whiteout("d").whiteout("i")
    root = unpacked(layer)
    assert (root / "f").read_bytes() == b"new"
    assert is_opaque(root / "d")
    assert is_opaque(root / "i")
    assert (root / "d/x").exists()
    assert (root / "i/implicit").exists()


def test_aufs_bookkeeping_is_left_out(unpacked):
    root = unpacked(
        LayerTar().directory(".wh..wh.plnk").file(".wh..wh.plnk/1.2").file(".wh..wh.aufs").file("a")
    )
    assert [path.name for path in root.iterdir()] == ["a"]


def test_large_and_empty_files(unpacked):
    data = os.urandom(3_000_001)
    root = unpacked(LayerTar().file("big", data).file("empty").file("tail", b"t" * 511))
    assert (root / "big").read_bytes() == data
    assert (root / "empty").read_bytes() == b""
    assert (root / "tail").read_bytes() == b"t" * 511


def test_names_of_any_bytes(unpacked):
    root = unpacked(
        LayerTar().file("ümläut\n").file("a\\b").file("x" * 255).file("y" * 200 + "/" + "z" * 200).file("-rf")
    )
    assert {path.name for path in root.iterdir()} == {"ümläut\n", "a\\b", "x" * 255, "y" * 200, "-rf"}
    assert (root / ("y" * 200) / ("z" * 200)).exists()


def test_bytes_behind_the_end_count_for_the_diff_id_only(unpacked):
    root = unpacked(LayerTar().file("a", b"x").raw(bytes(1024) + b"garbage behind the end" * 100_000))
    assert [path.name for path in root.iterdir()] == ["a"]


def test_gzip_of_many_members(tmp_path):
    layer = LayerTar().file("a", b"x" * 100_000)
    content = layer.content()
    parts = [content[:1000], content[1000:70_000], b"", content[70_000:]]
    blob = tmp_path / "blob"
    blob.write_bytes(b"".join(gzip.compress(part) for part in parts))
    unpack_here(LayerApply(layer.diff_id(), str(blob), MEDIA_TYPES["gzip"]), tmp_path / "layer")
    assert (tmp_path / "layer/fs/a").read_bytes() == b"x" * 100_000


@pytest.mark.parametrize(
    "style",
    [
        "gnu",
        "oldgnu",
        "posix --sparse-version=0.0",
        "posix --sparse-version=0.1",
        "posix --sparse-version=1.0",
        "ustar",
        "v7",
    ],
)
def test_tars_of_gnu_tar(tmp_path, style):
    tar = need.tool("tar")
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "sparse", "wb") as file:
        for block in range(12):
            file.seek(block * 1_000_000)
            file.write(b"%d" % block * 3000)
        file.truncate(20_000_000)
    (source / "plain").write_bytes(b"plain")
    if style not in ("ustar", "v7"):
        (source / ("n" * 180)).symlink_to("t" * 180)
    (source / "hard").hardlink_to(source / "plain")
    options = ["--sparse"] if "ustar" not in style and "v7" not in style else []
    blob = tmp_path / "blob.tar"
    subprocess.run(
        [tar, f"--format={style.split()[0]}", *style.split()[1:], *options, "-cf", blob, "-C", source, "."],
        check=True,
    )
    digest = subprocess.run(["sha256sum", blob], check=True, capture_output=True, text=True).stdout.split()[0]
    usage = unpack_here(LayerApply(f"sha256:{digest}", str(blob), MEDIA_TYPES["plain"]), tmp_path / "layer")
    root = tmp_path / "layer/fs"
    assert (root / "sparse").read_bytes() == (source / "sparse").read_bytes()
    assert (root / "plain").samefile(root / "hard")
    if options:
        assert (root / "sparse").stat().st_blocks * 512 < 2_000_000
        assert os.readlink(root / ("n" * 180)) == "t" * 180
        assert usage.bytes < 2_000_000


@pytest.mark.row("S22")
def test_too_many_entries(tmp_path):
    layer = LayerTar()
    for number in range(20):
        layer.file(str(number))
    with pytest.raises(InvalidArgument, match="more than 19 entries"):
        unpack_here(layer.store(tmp_path), tmp_path / "layer", max_entries=19)


@pytest.mark.row("S22")
def test_too_many_bytes(tmp_path):
    with pytest.raises(InvalidArgument, match="more than 1000000 bytes"):
        unpack_here(
            LayerTar().file("zeros", bytes(2_000_000)).store(tmp_path),
            tmp_path / "layer",
            max_bytes=1_000_000,
        )
    assert (
        not (tmp_path / "layer/fs/zeros").exists()
        or (tmp_path / "layer/fs/zeros").stat().st_size <= 1_000_000
    )
