"""Reading .debs, merging them, writing the layer."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barque.spi.errors import BarqueError, InvalidArgument, ResourceExhausted
from barque.testing.debs import Deb, ar
from barque.testing.layers import LayerTar
from barque_image_deb.debfile import read_control, spool_data
from barque_image_deb.layer import write_layer
from barque_image_deb.postinst import complete, shell
from barque_image_deb.tree import Content, Entry, Tree, read_data_tar


def tree_of(tmp_path, *tars):
    tree = Tree()
    for number, tar in enumerate(tars):
        spool = tmp_path / f"{number}.data"
        spool.write_bytes(tar.content())
        for entry in read_data_tar(spool, f"p{number}"):
            tree.add(entry)
    return tree


def written(tree, tmp_path, mtime=1000):
    path = tmp_path / "layer.tar"
    layer = write_layer(tree.finish(mtime), path)
    assert layer.size == path.stat().st_size
    with tarfile.open(path) as archive:
        return {
            info.name: (info, archive.extractfile(info).read() if info.isreg() else b"") for info in archive
        }


def test_link_to_the_libraries_is_there_without_base_files(tmp_path):
    files = written(tree_of(tmp_path, LayerTar().file("usr/lib64/ld.so", b"x")), tmp_path)
    assert files["lib64"][0].linkname == "usr/lib64"
    assert "lib32" not in files


# debfile


@pytest.mark.parametrize("compression", ["gz", "xz", "bz2", "zst", "tar"])
def test_every_compression(tmp_path, compression):
    path = tmp_path / "x.deb"
    path.write_bytes(
        Deb("hello", "1:2-3", "libc6", {"usr/bin/hello": b"hi"}, compression=compression).build()
    )
    control = read_control(path)
    assert (control.package, control.version, control.info_name) == ("hello", "1:2-3", "hello")
    assert control.fields["description"] == "a package for tests\nof Barque"
    assert control.members["postinst"].startswith(b"#!/bin/sh")
    spool_data(path, tmp_path / "data", 1 << 20)
    assert [entry.path for entry in read_data_tar(tmp_path / "data", "hello")] == [
        "",
        "usr",
        "usr/bin",
        "usr/bin/hello",
    ]


@pytest.mark.row("S22")
def test_bomb_is_cut_off(tmp_path):
    path = tmp_path / "bomb.deb"
    path.write_bytes(Deb("bomb", files={"zeros": bytes(8 << 20)}).build())
    with pytest.raises(ResourceExhausted, match=r"bomb\.deb"):
        spool_data(path, tmp_path / "data", 1 << 20)
    assert (tmp_path / "data").stat().st_size <= 1 << 20


@pytest.mark.parametrize(
    "data",
    [
        b"", b"garbage", b"!<arch>\n", ar({"debian-binary": b"2.0\n"}), ar({"control.tar.gz": b"not gzip"}),
        ar({"control.tar.rot13": b""}), ar({"control.tar.xz": b"\xfd7zXZ\0cut"}), ar({"control.tar.zst": b"x"}),
        ar({"control.tar": bytes(1024)}), b"!<arch>\n" + b"x" * 60, b"!<arch>\n" + b" " * 48 + b"-5        `\n",
    ],
)  # fmt: skip
def test_damaged_package_is_refused(tmp_path, data):
    path = tmp_path / "broken.deb"
    path.write_bytes(data)
    with pytest.raises(InvalidArgument, match=r"broken\.deb"):
        read_control(path)


@pytest.mark.row("R41")
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_change_of_a_package_is_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "x.deb"
    deb = bytearray(Deb("x", files={"usr/bin/x": b"x" * 100}, compression="tar").build())
    for _ in range(data.draw(st.integers(1, 8))):
        deb[data.draw(st.integers(0, len(deb) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(deb)
    try:
        read_control(path)
        spool_data(path, path.with_suffix(".data"), 1 << 20)
    except BarqueError:
        pass


# tree


def test_bin_sbin_lib_are_merged_into_usr(tmp_path):
    one = (
        LayerTar()
        .directory("./bin")
        .file("./bin/sh", b"sh")
        .directory("./lib64")
        .file("./lib64/ld.so", b"ld")
    )
    two = LayerTar().symlink("./bin", "usr/bin").file("./usr/bin/env", b"env").file("./sbin/init", b"init")
    files = written(tree_of(tmp_path, one, two), tmp_path)
    assert {name: files[name][0].linkname for name in ("bin", "sbin", "lib", "lib64")} == {
        "bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
    }  # fmt: skip
    assert files["usr/bin/sh"][1] == b"sh"
    assert files["usr/sbin/init"][1] == b"init"
    assert "libx32" not in files


def test_parents_come_first_and_nothing_twice(tmp_path):
    one = LayerTar().file("./opt/a/b/c", b"1").directory("./opt", mode=0o700)
    two = LayerTar().directory("./opt", mode=0o755).directory("./opt/a").file("./opt-x", b"2")
    tree = tree_of(tmp_path, one, two)
    entries = tree.finish(7)
    paths = [entry.path for entry in entries]
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert path.rpartition("/")[0] in ("", *paths[: paths.index(path)])
    by_path = {entry.path: entry for entry in entries}
    assert stat.S_IMODE(by_path["opt"].mode) == 0o700
    assert by_path["opt"].mtime == 7


def test_order_of_packages_does_not_matter(tmp_path):
    one, two = (
        LayerTar().directory("a", mode=0o700).file("a/1", b"1"),
        LayerTar().directory("a").file("a/2", b"2"),
    )
    spools = {}
    for name, tar in (("one", one), ("two", two)):
        spools[name] = tmp_path / name
        spools[name].write_bytes(tar.content())
    digests = set()
    for order in (["one", "two"], ["two", "one"]):
        tree = Tree()
        for name in order:
            for entry in read_data_tar(spools[name], name):
                tree.add(entry)
        digests.add(write_layer(tree.finish(1), tmp_path / "layer").digest)
    assert len(digests) == 1


def test_hard_links_stay_hard_links(tmp_path):
    tar = LayerTar().file("./bin/z", b"content").hardlink("./bin/a", "./bin/z").hardlink("./usr/x", "./bin/z")
    files = written(tree_of(tmp_path, tar), tmp_path)
    assert files["usr/bin/a"][1] == b"content"
    assert files["usr/bin/z"][0].islnk()
    assert files["usr/bin/z"][0].linkname == files["usr/x"][0].linkname == "usr/bin/a"


def test_two_empty_files_are_two_files(tmp_path):
    files = written(tree_of(tmp_path, LayerTar().file("a").file("b")), tmp_path)
    assert files["a"][0].isreg()
    assert files["b"][0].isreg()


def test_conflict_and_replacement(tmp_path):
    left, right = Entry("x", stat.S_IFREG, owner="left"), Entry("x", stat.S_IFLNK, owner="right", link="y")
    for order in ((left, right), (right, left)):
        tree = Tree()
        with pytest.raises(InvalidArgument, match="both have /x"):
            [tree.add(entry) for entry in order]
        tree = Tree()
        tree.allow("right", "left")
        [tree.add(entry) for entry in order]
        assert tree["x"].owner == "right"


def test_same_link_of_two_packages_is_no_conflict():
    tree = Tree()
    tree.add(Entry("x", stat.S_IFLNK, owner="b", link="y"))
    tree.add(Entry("x", stat.S_IFLNK, owner="a", link="y"))
    assert tree["x"].owner == "a"


@pytest.mark.row("S18")
@pytest.mark.parametrize(
    "tar",
    [
        LayerTar().file("../x"), LayerTar().file("a/../../x"), LayerTar().hardlink("a", "/etc/passwd"),
        LayerTar().hardlink("a", "b"), LayerTar().symlink("d", "/etc").file("d/x"), LayerTar().file("f").file("f/x"),
        LayerTar().symlink("usr", "/tmp").file("bin/x"), LayerTar().file("usr"),
    ],
)  # fmt: skip
def test_hostile_tar_is_refused(tmp_path, tar):
    with pytest.raises(InvalidArgument):
        tree_of(tmp_path, tar).finish(0)


# layer


def test_what_a_layer_keeps(tmp_path):
    tar = (
        LayerTar()
        .file("./usr/bin/su", b"x", mode=0o4755, uid=1, gid=42, mtime=5)
        .device("./dev/null", 1, 3, mode=0o666)
    )
    tar.symlink("./etc/" + "l" * 150, "t" * 150).fifo("./run/pipe").file("./usr/share/größe", b"utf-8")
    files = written(tree_of(tmp_path, tar), tmp_path)
    info = files["usr/bin/su"][0]
    assert (stat.S_IMODE(info.mode), info.uid, info.gid, info.mtime, info.uname) == (0o4755, 1, 42, 5, "")
    assert (files["dev/null"][0].devmajor, files["dev/null"][0].devminor) == (1, 3)
    assert files["etc/" + "l" * 150][0].linkname == "t" * 150
    assert files["run/pipe"][0].isfifo()
    assert files["usr/share/größe"][1] == b"utf-8"


# postinst


def completed(*entries):
    tree = Tree()
    for entry in entries:
        tree.add(entry)
    complete(tree, [], {})
    return tree


def program(path, data=b"program"):
    return Entry(path, stat.S_IFREG | 0o755, content=Content(len(data), data), owner="p")


def test_empty_run_of_base_files_becomes_the_link_its_script_makes():
    directory = stat.S_IFDIR | 0o755
    tree = completed(Entry("var/run", directory, owner="base-files"), Entry("var/lock", directory, owner="b"))
    assert (tree["var/run"].link, tree["var/lock"].link) == ("/run", "/run/lock")
    tree = completed(Entry("var/run", directory, owner="base-files"), program("var/run/tool"))
    assert tree["var/run"].is_directory


def test_busybox_gets_the_links_its_binary_knows():
    tree = completed(
        program("bin/busybox", b"ELF\0[\0sh\0wget\0httpd\0ls\0unrelated\0"), program("bin/ls", b"real")
    )
    assert tree["usr/bin/sh"].link == "busybox"
    assert tree["usr/bin/wget"].link == "busybox"
    assert tree["usr/sbin/httpd"].link == "../bin/busybox"
    assert tree["usr/bin/ls"].content.data == b"real"
    assert "usr/bin/vi" not in tree
    assert shell(tree) == "sh"


@pytest.mark.parametrize(
    ("programs", "link", "command"),
    [
        (["bash"], "bash", "bash"),
        (["dash"], "dash", "sh"),
        (["bash", "dash"], "dash", "bash"),
        ([], None, ""),
    ],
)
def test_shell(programs, link, command):
    tree = completed(*(program(f"bin/{name}") for name in programs))
    found = tree.get("usr/bin/sh")
    assert (found.link if found else None) == link
    assert shell(tree) == command


def test_alternatives_and_certificates():
    tree = completed(
        program("usr/bin/mawk"),
        program("usr/share/ca-certificates/mozilla/B.crt", b"second\n"),
        program("usr/share/ca-certificates/mozilla/A.crt", b"first"),
    )
    assert tree["usr/bin/awk"].link == "/usr/bin/mawk"
    assert tree["etc/ssl/certs/ca-certificates.crt"].content.data == b"first\nsecond\n"


def test_accounts_come_from_base_passwd_when_there():
    plain = completed()
    assert plain["etc/passwd"].content.data.startswith(b"root:x:0:0:")
    assert b"nogroup:x:65534:" in plain["etc/group"].content.data
    tree = completed(program("usr/share/base-passwd/passwd.master", b"root:*:0:0::/root:/bin/bash\n"))
    assert tree["etc/passwd"].content.data == b"root:*:0:0::/root:/bin/bash\n"


def test_directories_for_the_kernel():
    tree = completed(Entry("tmp", stat.S_IFDIR | 0o700, owner="p"))
    modes = {path: stat.S_IMODE(tree[path].mode) for path in ("proc", "sys", "dev", "root", "var/tmp", "tmp")}
    assert modes == {
        "proc": 0o555,
        "sys": 0o555,
        "dev": 0o755,
        "root": 0o700,
        "var/tmp": 0o1777,
        "tmp": 0o700,
    }
    assert io.BytesIO(tree["var/lib/dpkg/status"].content.data).read() == b""


@pytest.mark.row("S22")
def test_control_part_that_unpacks_to_too_much(tmp_path):
    path = tmp_path / "bomb.deb"
    control = gzip.compress(bytes(40 << 20), 1)
    path.write_bytes(ar({"debian-binary": b"2.0\n", "control.tar.gz": control, "data.tar": b""}))
    with pytest.raises(InvalidArgument, match="control part larger than"):
        read_control(path)
