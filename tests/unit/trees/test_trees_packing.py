"""Trees packed, and unpacked again: any tree, one that changes meanwhile, one that tries to lead elsewhere."""

import hashlib
import io
import os
import socket
import stat
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barque.spi.trees import packing, tree
from barque.spi.trees.jobs import Unpack
from barque.spi.trees.packing import Left, Packer
from barque.spi.trees.tarwriter import TarWriter
from barque.spi.trees.unpack import unpack

OPEN = os.O_RDONLY | os.O_DIRECTORY


def pack(root, *members, **options):
    """The tar of `members` (all that is in `root`, if none are given) as bytes."""
    out = os.memfd_create("tar")
    fd = os.open(root, OPEN)
    try:
        writer = TarWriter(out)
        packer = Packer(writer, **options)
        for name, stored in members or (("", b""),):
            packer.add(fd, name, stored)
        writer.finish()
        with open(out, "rb", closefd=False) as file:
            file.seek(0)
            return file.read()
    finally:
        os.close(fd)
        os.close(out)


def names(data):
    return tarfile.open(fileobj=io.BytesIO(data)).getnames()


def unpacked(data, directory):
    fds = [os.memfd_create("blob")]
    try:
        os.write(fds[0], data)
        os.lseek(fds[0], 0, os.SEEK_SET)
        for name in ("fs", "replaced"):
            os.mkdir(os.path.join(directory, name))
            fds.append(os.open(os.path.join(directory, name), OPEN))
        job = Unpack(f"sha256:{hashlib.sha256(data).hexdigest()}", "", "here", False, 10**6, 1 << 40)
        before = os.umask(0)
        try:
            unpack(job, *fds)
        finally:
            os.umask(before)
    finally:
        for fd in fds:
            os.close(fd)
    return os.path.join(directory, "fs")


def described(root):
    """path -> everything that a tar can keep of it, inode numbers as the first path that has them."""
    found, first = {}, {}
    for directory, directories, files in os.walk(os.fsencode(root)):
        for name in sorted((*directories, *files)):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            relative = os.path.relpath(path, os.fsencode(root))
            found[relative] = (
                kind,
                stat.S_IMODE(status.st_mode),
                status.st_mtime_ns,
                (status.st_uid, status.st_gid),
                os.readlink(path) if stat.S_ISLNK(status.st_mode) else b"",
                Path(os.fsdecode(path)).read_bytes() if stat.S_ISREG(status.st_mode) else b"",
                relative if stat.S_ISDIR(status.st_mode) else first.setdefault(status.st_ino, relative),
            )
    return found


NAME = st.binary(min_size=1, max_size=60).filter(
    lambda name: not {0, 0x2F} & set(name) and name not in (b".", b"..") and not name.startswith(b".wh.")
)
TIME = st.integers(0, 2**33 * 10**9)
MODE = st.sampled_from([0o644, 0o755, 0o700, 0o600, 0o4755, 0o2711, 0o1777, 0o444])
LEAF = st.one_of(
    st.tuples(st.just("file"), st.binary(max_size=2000), MODE, TIME),
    st.tuples(
        st.just("symlink"), st.binary(min_size=1, max_size=150).filter(lambda t: 0 not in t), MODE, TIME
    ),
    st.tuples(st.just("fifo"), st.just(b""), MODE, TIME),
    st.tuples(st.just("link"), st.just(b""), MODE, TIME),
)
TREE = st.recursive(
    st.dictionaries(NAME, LEAF, max_size=4),
    lambda below: st.dictionaries(NAME, st.one_of(LEAF, below), max_size=4),
    max_leaves=12,
)


def build(directory, tree, made):
    for name, value in tree.items():
        path = os.path.join(directory, name)
        if isinstance(value, dict):
            os.mkdir(path)
            build(path, value, made)
            os.utime(path, ns=(0, 1_234_567_890_123_456_789))
            continue
        kind, data, mode, time = value
        if kind == "symlink":
            os.symlink(data, path)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "link" and made:
            os.link(made[len(made) // 2], path, follow_symlinks=False)
            continue
        else:
            Path(os.fsdecode(path)).write_bytes(data)
        if kind != "symlink":
            os.chmod(path, mode)
        os.utime(path, ns=(0, time), follow_symlinks=False)
        made.append(path)


@settings(max_examples=40, deadline=None)
@given(grown=TREE)
def test_any_tree_comes_back(grown):
    with tempfile.TemporaryDirectory() as directory:
        source = os.path.join(directory, "source")
        os.mkdir(source)
        build(os.fsencode(source), grown, [])
        data = pack(source)
        assert described(unpacked(data, directory)) == described(source)
        assert pack(source) == data


def test_names_are_given_and_children_lie_below_them(tmp_path):
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/f").write_bytes(b"x")
    (tmp_path / "g").write_bytes(b"y")
    assert names(pack(tmp_path, ("d", b"other/name"), ("g", b"h"))) == [
        "other/name", "other/name/e", "other/name/e/f", "h",
    ]  # fmt: skip
    assert names(pack(tmp_path, ("", b"."))) == [".", "./d", "./d/e", "./d/e/f", "./g"]
    assert names(pack(tmp_path)) == ["d", "d/e", "d/e/f", "g"]


def test_a_missing_name_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        pack(tmp_path, ("nothing", b"x"))


def test_links_are_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "l").symlink_to(outside)
    (root / "f").symlink_to(outside / "secret")
    data = pack(root)
    assert b"secret" not in data.replace(os.fsencode(outside / "secret"), b"")
    assert [entry.issym() for entry in tarfile.open(fileobj=io.BytesIO(data))] == [True, True]
    assert tarfile.open(fileobj=io.BytesIO(pack(root, ("l", b"l")))).getmembers()[0].issym()


def test_sockets_are_left_out(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
    (tmp_path / "t").write_bytes(b"")
    assert names(pack(tmp_path)) == ["t"]


def test_holes_are_zeros_and_are_not_read(tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.seek(3_000_000)
        file.write(b"data")
        file.truncate(5_000_001)
    data = pack(tmp_path)
    content = tarfile.open(fileobj=io.BytesIO(data)).extractfile("sparse").read()
    assert content == bytes(3_000_000) + b"data" + bytes(1_999_997)


def test_large_files_go_by_sendfile_into_a_pipe(tmp_path):
    content = os.urandom(3 << 20)
    (tmp_path / "big").write_bytes(content)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        fd = os.open(tmp_path, OPEN)
        writer = TarWriter(write)
        Packer(writer).add(fd, "", b"")
        writer.finish()
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        data = file.read()
    assert os.waitpid(child, 0)[1] == 0
    assert tarfile.open(fileobj=io.BytesIO(data)).extractfile("big").read() == content


class Meddler(TarWriter):
    """Does something to the tree between the header of a file and its content."""

    def __init__(self, fd, meddle):
        super().__init__(fd)
        self._meddle = meddle

    def _header(self, name, *rest, **more):
        super()._header(name, *rest, **more)
        self._meddle(name)


def packed_while(root, meddle):
    out = os.memfd_create("tar")
    fd = os.open(root, OPEN)
    try:
        writer = Meddler(out, meddle)
        Packer(writer).add(fd, "", b"")
        writer.finish()
        os.lseek(out, 0, os.SEEK_SET)
        with open(out, "rb", closefd=False) as file:
            return tarfile.open(fileobj=io.BytesIO(file.read()))
    finally:
        os.close(fd)
        os.close(out)


@pytest.mark.parametrize("size", [1000, 1 << 20])
@pytest.mark.parametrize("later", [0, 10, 3 << 20])
def test_a_file_that_shrinks_or_grows_keeps_its_announced_size(tmp_path, size, later):
    (tmp_path / "f").write_bytes(b"x" * size)
    (tmp_path / "z").write_bytes(b"after it")

    def meddle(name):
        if name == b"f":
            os.truncate(tmp_path / "f", later)

    tar = packed_while(tmp_path, meddle)
    content = tar.extractfile("f").read()
    assert len(content) == size
    assert content.rstrip(b"\0") == b"x" * min(later, size)
    assert tar.extractfile("z").read() == b"after it"


def test_what_vanishes_is_left_out(tmp_path):
    for name in "abcd":
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(b"")

    def meddle(name):
        if name == b"a/":
            os.unlink(tmp_path / "a/f")
            os.unlink(tmp_path / "c/f")
            os.rmdir(tmp_path / "c")

    assert packed_while(tmp_path, meddle).getnames() == ["a", "b", "b/f", "d", "d/f"]


def test_a_file_that_became_another_kind_is_that_kind(tmp_path):
    for name in "abcd":
        (tmp_path / name).write_bytes(b"")

    def meddle(name):
        if name == b"a":
            os.unlink(tmp_path / "b")
            os.symlink("/etc/passwd", tmp_path / "b")
            os.unlink(tmp_path / "c")
            os.mkfifo(tmp_path / "c")
            os.unlink(tmp_path / "d")
            os.mkdir(tmp_path / "d")

    tar = packed_while(tmp_path, meddle)
    assert [entry.type for entry in tar] == [
        tarfile.REGTYPE,
        tarfile.SYMTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
    ]


def test_a_directory_that_was_moved_away_does_not_lead_out(tmp_path):
    """Beyond 64 levels directories above are opened again by `..`, which leads elsewhere by then."""
    root = tmp_path / "root"
    path = root
    for level in range(100):
        path = path / "d"
        path.mkdir(parents=True)
        (path / f"e{level}").write_bytes(b"")
    (tmp_path / "secret").write_bytes(b"secret")
    moved = root / "/".join(["d"] * 20)

    def meddle(name):
        if name.endswith(b"e99"):
            os.rename(moved / "d", tmp_path / "elsewhere")

    tar = packed_while(root, meddle)
    assert "secret" not in str(tar.getnames())
    assert not [name for name in tar.getnames() if not name.startswith("d")]


def test_any_depth_with_few_descriptors(tmp_path):
    fd = os.open(tmp_path, OPEN)
    for _level in range(600):
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", OPEN, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    most = 0

    class Counting(TarWriter):
        def _header(self, *rest, **more):
            nonlocal most
            most = max(most, len(os.listdir("/proc/self/fd")))
            super()._header(*rest, **more)

    before = len(os.listdir("/proc/self/fd"))
    out = os.memfd_create("tar")
    root = os.open(tmp_path, OPEN)
    try:
        writer = Counting(out)
        Packer(writer).add(root, "", b"")
        assert writer.entries == 1200
    finally:
        tree.remove(root, "d")  # pytest's own removal would recurse
        os.close(out)
        os.close(root)
    assert most - before < 80


def test_a_path_beyond_all_measure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_MAX_PATH", 20)
    (tmp_path / "a/b/c/d/e/f/g/h/i/j/k/l").mkdir(parents=True)
    with pytest.raises(packing.InvalidArgument, match="longer than 20 bytes"):
        pack(tmp_path)


def test_what_a_layer_leaves_out(tmp_path):
    (tmp_path / "etc").mkdir(mode=0o755)
    (tmp_path / "proc").mkdir()
    (tmp_path / "etc/hosts").write_bytes(b"")
    owner = (os.geteuid(), os.getegid())
    left = Left(frozenset((b"etc/hosts", b"proc")), {b"etc": (0o40755, *owner), b"": (0o40700, 9, 9)})
    assert names(pack(tmp_path, left=left)) == ["."]  # the root is not as known
    (tmp_path / "etc/hosts").write_bytes(b"x")
    (tmp_path / "proc/x").write_bytes(b"x")
    assert names(pack(tmp_path, left=left)) == [".", "etc", "etc/hosts", "proc", "proc/x"]


def test_files_that_would_be_taken_for_whiteouts_are_left_out_of_a_layer(tmp_path):
    (tmp_path / ".wh.passwd").write_bytes(b"")
    (tmp_path / ".wh..wh..opq").write_bytes(b"")
    assert names(pack(tmp_path, overlay=True)) == []
    assert names(pack(tmp_path)) == [".wh..wh..opq", ".wh.passwd"]
