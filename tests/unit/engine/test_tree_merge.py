"""Unpacking a client's tar into a tree that is somebody else's: what is merged, replaced, refused."""

import io
import os
import stat
import tarfile

import pytest

from barque.engine.files.merge import Merge, Merger
from barque.spi.errors import Conflict, InvalidArgument
from barque.spi.trees.reader import TarReader

OWNER = {"uid": os.geteuid(), "gid": os.getegid()}
REG, DIR, SYM, LNK, FIFO = (
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.FIFOTYPE,
)


def tar_of(*entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, value, *more in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mtime = kind, 1_500_000_000
            for field, wanted in {**OWNER, **(more[0] if more else {})}.items():
                setattr(info, field, wanted)
            if kind in (SYM, LNK):
                info.linkname = value
                tar.addfile(info)
            else:
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path):
    """A container's root with /data in it, and a neighbour that is not in it."""
    (tmp_path / "root/data").mkdir(parents=True)
    (tmp_path / "root/etc").mkdir()
    (tmp_path / "outside").write_text("outside")
    return tmp_path / "root"


def merge(root, *entries, target="/data", **options):
    content = iter([tar_of(*entries)])
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        Merger(fd, Merge(target, **options)).run(TarReader(lambda: next(content, b""), 1000))
    finally:
        os.close(fd)


def test_files_directories_links_and_times(root):
    merge(
        root,
        ("d", DIR, b"", {"mode": 0o750}),
        ("d/f", REG, b"hello", {"mode": 0o4710}),
        ("d/l", SYM, "/nowhere"),
        ("d/h", LNK, "d/f"),
        ("d/p", FIFO, b"", {"mode": 0o640}),
        ("implied/below/f", REG, b"", {"pax_headers": {"mtime": "1500000000.123456789"}}),
    )
    data = root / "data"
    assert (data / "d/f").read_text() == "hello"
    assert [oct((data / "d" / n).lstat().st_mode) for n in ("f", "p", ".")] == [
        "0o104710",
        "0o10640",
        "0o40750",
    ]
    assert (data / "d/h").stat().st_ino == (data / "d/f").stat().st_ino
    assert os.readlink(data / "d/l") == "/nowhere"
    assert {(data / "d" / n).lstat().st_mtime for n in ("f", "l", "p", "")} == {1_500_000_000}
    assert (data / "implied/below/f").stat().st_mtime_ns == 1_500_000_000_123_456_789
    assert stat.S_IMODE((data / "implied").stat().st_mode) & 0o700 == 0o700


def test_what_is_in_the_way_gives_way_and_directories_become_one(root):
    data = root / "data"
    (data / "dir/kept").mkdir(parents=True)
    (data / "file").write_text("old")
    (data / "link").symlink_to("file")
    (data / "full/of/things").mkdir(parents=True)
    (data / "full/of/file").touch()
    merge(
        root,
        ("dir", DIR, b"", {"mode": 0o700}),
        ("dir/new", REG, b"new"),
        ("file", DIR, b""),
        ("link", REG, b"a file now"),
        ("full", REG, b"a file, too"),
    )
    assert sorted(os.listdir(data / "dir")) == ["kept", "new"]
    assert stat.S_IMODE((data / "dir").stat().st_mode) == 0o700
    assert (data / "file").is_dir()
    assert not (data / "link").is_symlink()
    assert (data / "full").read_text() == "a file, too"


@pytest.mark.parametrize(
    ("there", "kind", "words"),
    [
        ("directory", REG, 'cannot overwrite directory "/data/x" with non-directory "/data"'),
        ("file", DIR, 'cannot overwrite non-directory "/data/x" with directory "/data"'),
        ("link", DIR, 'cannot overwrite non-directory "/data/x" with directory "/data"'),
    ],
)
def test_no_overwrite_keeps_the_kind_of_what_is_there(root, there, kind, words):
    place = root / "data/x"
    {"directory": place.mkdir, "file": place.touch, "link": lambda: place.symlink_to("/etc")}[there]()
    before = place.lstat()
    with pytest.raises(InvalidArgument, match=words):
        merge(root, ("x", kind, b""), no_overwrite=True)
    assert place.lstat() == before


def test_links_on_the_way_lead_where_they_lead_in_the_container(root):
    (root / "data/abs").symlink_to("/etc")
    (root / "data/up").symlink_to("../../../../etc")
    merge(root, ("abs/one", REG, b"1"), ("up/two", REG, b"2"))
    assert sorted(os.listdir(root / "etc")) == ["one", "two"]


@pytest.mark.parametrize(
    "entries",
    [
        [("../outside", REG, b"x")],
        [("a/../../outside", REG, b"x")],
        [("..", DIR, b"")],
        [(".", REG, b"x")],
        [("h", LNK, "../../outside")],
        [("h", LNK, "absent")],
        [("h", LNK, "/")],
        [("l", SYM, "nowhere"), ("l/x", REG, b"x")],
        [("f", REG, b"x"), ("f/x", REG, b"x")],
        [("n" * 256, REG, b"x")],
        [("x", b"9", b"")],
        [("c", tarfile.CHRTYPE, b"")],
    ],
    ids=lambda entries: entries[-1][0][:20],
)
def test_entries_that_cannot_be_are_refused_and_touch_nothing_outside(root, entries):
    before = (root.parent / "outside").stat()
    with pytest.raises((InvalidArgument, OSError)):
        merge(root, *entries)
    assert (root.parent / "outside").stat() == before
    assert sorted(os.listdir(root.parent)) == ["outside", "root"]


def test_a_hard_link_through_a_link_stays_inside(root):
    (root.parent / "root/data/out").symlink_to(str(root.parent))
    with pytest.raises(InvalidArgument, match=r"its link target .* is not there"):
        merge(root, ("h", LNK, "out/outside"))


def test_absolute_names_are_below_the_target_and_its_own_entry_changes_nothing(root):
    before = (root / "data").stat().st_mode
    merge(
        root,
        (".", DIR, b"", {"mode": 0o700}),
        ("./x", REG, b"1"),
        ("/abs", REG, b"2"),
        ("a//b/./c", REG, b"3"),
    )
    assert (root / "data").stat().st_mode == before
    assert {str(p.relative_to(root / "data")) for p in (root / "data").rglob("*")} == {
        "x",
        "abs",
        "a",
        "a/b",
        "a/b/c",
    }


def test_one_owner_for_all(root):
    merge(root, ("x", REG, b"1", {"uid": 99_999, "gid": 99_999}), owner=(os.geteuid(), os.getegid()))
    assert (root / "data/x").stat().st_uid == os.geteuid()


def test_devices_are_passed_over_where_none_can_be_made(root):
    merge(root, ("c", tarfile.CHRTYPE, b"", {"devmajor": 1, "devminor": 3}), ("x", REG, b""), devices=False)
    assert os.listdir(root / "data") == ["x"]


def test_a_name_that_always_is_there_again_is_given_up(root, monkeypatch):
    (root / "data/x").touch()
    monkeypatch.setattr("barque.engine.files.merge.clear", lambda _folder, _name: None)
    with pytest.raises(Conflict, match="faster than it can be replaced"):
        merge(root, ("x", REG, b""))


def test_a_tree_too_deep_is_not_replaced(root):
    fd = os.open(root / "data", os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(450):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    with pytest.raises(Conflict, match="levels deep"):
        merge(root, ("d", REG, b""))
