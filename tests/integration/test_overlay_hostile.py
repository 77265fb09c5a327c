"""Row S18: tars that try to leave the layer. The host's canary tree stays as it is, whatever they do."""

from __future__ import annotations

import os
import stat
import struct
import time

import pytest
from overlay_helpers import unpack_here

from barque.spi.errors import InvalidArgument
from barque.testing.canary import Canary
from barque.testing.layers import LayerTar
from barque_storage_overlay.plugin import OverlayStorage

pytestmark = [pytest.mark.root, pytest.mark.row("S18"), pytest.mark.row("S21")]

UP = "../" * 40


def header(name, kind=b"0", size=b"00000000000\0", major=b"", uid=b"0000000\0", mtime=b"00000000000\0"):
    """A hand-made header block with a right checksum."""
    block = bytearray(512)
    numbers = (b"0000644\0", uid, b"0000000\0", size, mtime, b" " * 8)
    struct.pack_into("100s8s8s8s12s12s8s1s100s8s", block, 0, name, *numbers, kind, b"", b"ustar\x0000")
    struct.pack_into("8s", block, 329, major)
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(records, follower=b""):
    """A PAX header with raw records, and the header it belongs to: an empty file's if none is given."""
    return (
        header(b"pax", b"x", b"%011o\0" % len(records))
        + records.ljust(512, b"\0")
        + (follower or header(b"victim"))
    )


def record(text):
    length = len(text) + 3
    while len(b"%d %s\n" % (length, text)) != length:
        length += 1
    return b"%d %s\n" % (length, text)


def old_sparse(offset, length, extended=0):
    """A header of GNU's old sparse format with a map of one segment."""
    block = bytearray(header(b"s", b"S"))
    struct.pack_into("8s", block, 257, b"ustar  \0")
    struct.pack_into("12s12s", block, 386, offset, length)
    block[482] = extended
    struct.pack_into("12s", block, 483, b"%011o\0" % 1)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def old_extension():
    """A block of that map that says that another one follows."""
    return b"%011o\0" % 0 * 42 + b"\1" + bytes(7)


SPARSE_1_0 = record(b"GNU.sparse.major=1") + record(b"GNU.sparse.minor=0")

REFUSED = {
    "parent": ("a path with", lambda c: LayerTar().file(f"{UP}{c}/etc/passwd", b"owned")),
    "parent inside": ("a path with", lambda c: LayerTar().directory("a").file("a/../../x", b"owned")),
    "parent only": ("a path with", lambda c: LayerTar().directory("..")),
    "absolute parent": ("a path with", lambda c: LayerTar().file(f"/../..{c}/etc/passwd", b"owned")),
    "parent that stays inside": ("a path with", lambda c: LayerTar().file("a/../b")),
    "through an absolute link": (
        "a parent of it is a dangling link",
        lambda c: LayerTar().symlink("l", c).file("l/etc/passwd", b"owned"),
    ),
    "through a relative link": (
        "a parent of it is a dangling link",
        lambda c: LayerTar().symlink("l", UP + c).file("l/etc/passwd", b"owned"),
    ),
    "through a chain of links": (
        "a parent of it is a dangling link",
        lambda c: (
            LayerTar()
            .symlink("a", "..")
            .symlink("b", "a/..")
            .symlink("c", "b" + c)
            .file("c/etc/passwd", b"owned")
        ),
    ),
    "through /proc/self/root": (
        "a parent of it is a dangling link",
        lambda c: LayerTar().symlink("l", "/proc/self/root" + c).file("l/etc/passwd", b"owned"),
    ),
    "through /proc/self/cwd": (
        "a parent of it is a dangling link",
        lambda c: LayerTar().symlink("l", "/proc/self/cwd").file("l/x", b"owned"),
    ),
    "a directory becomes a link": (
        "a parent of it is a dangling link",
        lambda c: LayerTar().directory("d").file("d/f").symlink("d", c).file("d/etc/passwd", b"owned"),
    ),
    "a loop of links": (
        "Too many levels of symbolic links",
        lambda c: LayerTar().symlink("a", "b").symlink("b", "a").file("a/x"),
    ),
    "through a file": ("Not a directory", lambda c: LayerTar().file("f").file("f/x")),
    "hard link, absolute": ("its link target", lambda c: LayerTar().hardlink("h", c + "/etc/shadow")),
    "hard link, parent": ("a path with", lambda c: LayerTar().hardlink("h", UP + c + "/etc/shadow")),
    "hard link through a link": (
        "its link target",
        lambda c: LayerTar().symlink("l", c).hardlink("h", "l/etc/shadow"),
    ),
    "hard link to a directory": ("its link target", lambda c: LayerTar().directory("d").hardlink("h", "d")),
    "hard link to itself": ("its link target", lambda c: LayerTar().hardlink("h", "h")),
    "hard link to the root": ("a hard link to nothing", lambda c: LayerTar().hardlink("h", "/")),
    "whiteout of nothing": ("a whiteout of no name", lambda c: LayerTar().file("d/.wh.")),
    "whiteout of here": ("a whiteout of no name", lambda c: LayerTar().file("d/.wh..")),
    "whiteout of the parent": ("a whiteout of no name", lambda c: LayerTar().file("d/.wh...")),
    "whiteout through a link": (
        "a parent of it is a dangling link",
        lambda c: LayerTar().symlink("l", c).whiteout("l/etc/passwd"),
    ),
    "opaque through a link": (
        "a parent of it is a dangling link",
        lambda c: LayerTar().symlink("l", c + "/etc").opaque("l"),
    ),
    "whiteout as a directory": ("a whiteout is not a directory", lambda c: LayerTar().file(".wh.d/f")),
    "whiteout device": ("a character device 0/0 would be a whiteout", lambda c: LayerTar().device("d", 0, 0)),
    "device number too large": (
        "its device number is out of range",
        lambda c: LayerTar().raw(header(b"d", b"3", major=b"7777777\0")),
    ),
    "root as a file": ("the root of a layer is a directory", lambda c: LayerTar().file("./")),
    "root as a link": ("the root of a layer is a directory", lambda c: LayerTar().symlink(".", c)),
    "component too long": ("File name too long", lambda c: LayerTar().file("a" * 300)),
    "path too long": ("its name or link is longer than 4095 bytes", lambda c: LayerTar().file("a/" * 3000)),
    "path too deep": ("more than 512 directories deep", lambda c: LayerTar().file("a/" * 600 + "f")),
    "unknown type": ("unhandled tar header type", lambda c: LayerTar().raw(header(b"n", b"Z"))),
    "multi-volume": ("unhandled tar header type", lambda c: LayerTar().raw(header(b"n", b"M"))),
    "negative size": ("its size is out of range", lambda c: LayerTar().raw(header(b"n", size=b"\xff" * 12))),
    "size of 2^63": (
        "a number in its header or its checksum is wrong",
        lambda c: LayerTar().raw(header(b"n", size=b"\x80" + bytes(3) + b"\x80" + bytes(7))),
    ),
    "signed octal": (
        "a number in its header or its checksum is wrong",
        lambda c: LayerTar().raw(header(b"n", size=b"-0000000001\0")),
    ),
    "octal with underscore": (
        "a number in its header or its checksum is wrong",
        lambda c: LayerTar().raw(header(b"n", size=b"0_000000001\0")),
    ),
    "PAX size negative": (
        "a number in its PAX header is wrong",
        lambda c: LayerTar().raw(pax(record(b"size=-1"))),
    ),
    "PAX size overflow": (
        "its size is out of range",
        lambda c: LayerTar().raw(pax(record(b"size=99999999999999999999"))),
    ),
    "PAX uid overflow": (
        "its user or group id is out of range",
        lambda c: LayerTar().raw(pax(record(b"uid=4294967295"))),
    ),
    "PAX length overflow": (
        "a PAX record has a wrong length",
        lambda c: LayerTar().raw(pax(b"99999 path=x\n")),
    ),
    "PAX length zero": ("a PAX record has a wrong length", lambda c: LayerTar().raw(pax(b"0 path=x\n"))),
    "PAX length negative": ("a PAX record has a wrong length", lambda c: LayerTar().raw(pax(b"-9 path=x\n"))),
    "PAX length of twenty digits": (
        "a PAX record has a wrong length",
        lambda c: LayerTar().raw(pax(b"99999999999999999999 path=x\n")),
    ),
    "PAX path with NUL": ("a PAX record is malformed", lambda c: LayerTar().raw(pax(record(b"path=a\0b")))),
    "PAX path outside": ("a path with", lambda c: LayerTar().raw(pax(record(b"path=../x")))),
    "PAX header of 2 MiB": (
        "an extended header of",
        lambda c: LayerTar().raw(header(b"pax", b"x", b"%011o\0" % (2 << 20)) + bytes(2 << 20)),
    ),
    "long name of 2 MiB": (
        "an extended header of",
        lambda c: LayerTar().raw(header(b"n", b"L", b"%011o\0" % (2 << 20)) + b"a" * (2 << 20)),
    ),
    "long name outside": (
        "a path with",
        lambda c: LayerTar().raw(
            header(b"n", b"L", b"%011o\0" % 512) + b"../x".ljust(512, b"\0") + header(b"n")
        ),
    ),
    "sparse, negative offset": (
        "a number in its sparse map is wrong",
        lambda c: LayerTar().raw(pax(record(b"GNU.sparse.map=-1,1"))),
    ),
    "sparse, beyond the end": (
        "its sparse map is not in order",
        lambda c: LayerTar().raw(pax(record(b"GNU.sparse.map=4096,0"))),
    ),
    "sparse, huge count": (
        "its sparse map is too long",
        lambda c: LayerTar().raw(
            pax(SPARSE_1_0, header(b"s", size=b"%011o\0" % 512)) + b"99999999999\n".ljust(512, b"\0")
        ),
    ),
    "sparse, offset overflow": (
        "its sparse map is not in order",
        lambda c: LayerTar().raw(
            pax(record(b"GNU.sparse.map=9223372036854775807,1") + record(b"GNU.sparse.size=1"))
        ),
    ),
    "sparse, number of forty digits": (
        "a number in its sparse map is wrong",
        lambda c: LayerTar().raw(pax(record(b"GNU.sparse.map=" + b"9" * 40 + b",0"))),
    ),
    "sparse, old map of negative offset": (
        "its sparse map is not in order",
        lambda c: LayerTar().raw(old_sparse(b"\xff" * 12, b"%011o\0" % 0)),
    ),
    "sparse, old map without end": (
        "its sparse map is too long",
        lambda c: LayerTar().raw(
            old_sparse(b"%011o\0" % 0, b"%011o\0" % 0, extended=1) + old_extension() * 4000
        ),
    ),
    "sparse directory": (
        "only a regular file can be sparse",
        lambda c: LayerTar().raw(pax(record(b"GNU.sparse.map=0,0"), header(b"d/", b"5"))),
    ),
    "sparse name outside": (
        "a path with",
        lambda c: LayerTar().raw(
            pax(
                record(b"GNU.sparse.map=0,0") + record(b"GNU.sparse.name=../x") + record(b"GNU.sparse.size=0")
            )
        ),
    ),
    "user of base 256, negative": (
        "its user or group id is out of range",
        lambda c: LayerTar().raw(header(b"n", uid=b"\xff" * 8)),
    ),
    "user of base 256, minus one": (
        "its user or group id is out of range",
        lambda c: LayerTar().raw(header(b"n", uid=b"\x80" + bytes(3) + b"\xff" * 4)),
    ),
    "PAX size hides a header": (
        "unexpected end of file",
        lambda c: LayerTar().raw(pax(record(b"size=4096"), header(b"a")) + header(b"hidden")),
    ),
    "PAX records for the end": (
        "it ends after an extended header",
        lambda c: LayerTar().raw(
            pax(record(b"path=a"))[:1024] + header(b"l", b"K", b"%011o\0" % 1) + b"x".ljust(512, b"\0")
        ),
    ),
    "long names without end": (
        "more than 1000 entries",
        lambda c: LayerTar().raw((header(b"n", b"L", b"%011o\0" % 1) + b"a".ljust(512, b"\0")) * 1001),
    ),
    "long link outside": (
        "a path with",
        lambda c: LayerTar().raw(
            header(b"n", b"K", b"%011o\0" % 512)
            + (UP.encode() + b"etc/shadow").ljust(512, b"\0")
            + header(b"h", b"1")
        ),
    ),
    "PAX link outside": (
        "a path with",
        lambda c: LayerTar().raw(pax(record(b"linkpath=" + UP.encode() + b"etc/shadow"), header(b"h", b"1"))),
    ),
    "wrong checksum": (
        "a number in its header or its checksum is wrong",
        lambda c: LayerTar().raw(header(b"n").replace(b"0000644", b"0000777")),
    ),
    "lone zero block": (
        "a lone zero block before an entry",
        lambda c: LayerTar().raw(bytes(512) + header(b"n")),
    ),
    "ends in a header": (
        "it ends after an extended header",
        lambda c: LayerTar().raw(pax(record(b"path=a"))[:1024]),
    ),
    "NUL name": ("it has no name", lambda c: LayerTar().raw(header(b""))),
}

CONTAINED = {
    "absolute name": lambda c: LayerTar().file(f"{c}/etc/passwd", b"owned"),
    "absolute directory": lambda c: LayerTar().directory(f"{c}/sealed", mode=0o777, uid=7),
    "file over a link": lambda c: (
        LayerTar().symlink("l", c + "/etc/passwd").file("l", b"owned", mode=0o777, uid=7)
    ),
    "directory over a link": lambda c: (
        LayerTar().symlink("l", c + "/sealed").directory("l", mode=0o777, uid=7)
    ),
    "directory, then a link in its place": lambda c: (
        LayerTar().directory("l", mode=0o777, uid=7).symlink("l", c + "/sealed")
    ),
    "device over a link": lambda c: LayerTar().symlink("l", c + "/etc/passwd").device("l", 1, 3, mode=0o777),
    "fifo over a link": lambda c: LayerTar().symlink("l", c + "/etc/passwd").fifo("l", mode=0o777),
    "hard link to a link, then a file": lambda c: (
        LayerTar().symlink("s", c + "/etc/passwd").hardlink("h", "s").file("h", b"owned")
    ),
    "attributes of a link": lambda c: LayerTar().symlink(
        "s", c + "/etc/passwd", uid=7, gid=7, mtime=7, mode=0o777
    ),
    "link with a setuid mode": lambda c: LayerTar().symlink("s", c + "/bin/tool", mode=0o4777),
    "whiteout over a link": lambda c: LayerTar().symlink("s", c + "/etc").whiteout("s"),
    "the same name again and again": lambda c: (
        LayerTar()
        .symlink("n", c + "/etc/passwd")
        .file("n", b"owned")
        .symlink("n", c + "/etc")
        .directory("n", mode=0o777, uid=7)
        .symlink("n", c + "/etc/passwd")
        .hardlink("h", "n")
        .file("h", b"owned", mode=0o4777)
    ),
    "a hard link to what is replaced": lambda c: (
        LayerTar().symlink("s", c + "/etc/passwd").hardlink("h", "s").symlink("s", c).file("h", b"owned")
    ),
    "PAX size over the header's": lambda c: LayerTar().raw(
        pax(record(b"size=5"), header(b"a", size=b"%011o\0" % 1024))
        + b"owned".ljust(512, b"\0")
        + header(b"b")
    ),
    "PAX path over a long name's": lambda c: LayerTar().raw(
        header(b"n", b"L", b"%011o\0" % 6)
        + b"inside".ljust(512, b"\0")
        + pax(record(b"path=" + UP.encode() + b"x"), header(b"n"))
    ),
    "time of base 256, before all time": lambda c: LayerTar().raw(header(b"n", mtime=b"\xff" * 12)),
    "setuid for a file of the host": lambda c: (
        LayerTar().file("f", b"x", mode=0o4755).symlink("f", c + "/bin/tool", mode=0o6777).hardlink("g", "f")
    ),
    "root with attributes": lambda c: LayerTar().directory("./", mode=0o777, uid=7),
    "block device": lambda c: LayerTar().device("disk", 7, 200, block=True, mode=0o666),
    "host attributes": lambda c: LayerTar().file(
        "f", b"x", {"security.selinux": b"evil", "trusted.overlay.redirect": b"/", "security.ima": b"x"}
    ),
    "directory with overlay attributes": lambda c: LayerTar().directory(
        "d",
        {"trusted.overlay.redirect": b"/etc", "user.overlay.opaque": b"y", "trusted.overlay.metacopy": b""},
    ),
    "many links upwards": lambda c: (
        LayerTar().symlink("a", UP).symlink("b", "a/" + UP).file("b/inside", b"x")
    ),
}


@pytest.fixture
def canary(tmp_path):
    planted = Canary.plant(tmp_path / "canary")
    yield planted
    planted.check()


@pytest.mark.parametrize("attack", REFUSED)
def test_attack_is_refused(attack, canary, tmp_path):
    reason, build = REFUSED[attack]
    request = build(str(canary.root)).store(tmp_path)
    started = time.monotonic()
    with pytest.raises(InvalidArgument, match=reason):
        unpack_here(request, tmp_path / "layer", max_entries=1000)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("attack", CONTAINED)
def test_attack_stays_in_the_layer(attack, canary, tmp_path):
    request = CONTAINED[attack](str(canary.root)).store(tmp_path)
    assert unpack_here(request, tmp_path / "layer").inodes >= 0


def test_all_attacks_on_one_driver(canary, tmp_path):
    """Through the workers, one after the other: none harms what the next one meets."""
    driver = OverlayStorage(
        "overlay",
        OverlayStorage.Config(worker_idle_seconds=0.2, max_entries=1000),
        str(tmp_path / "storage"),
    )
    for reason, build in REFUSED.values():
        with pytest.raises(InvalidArgument, match=reason):
            driver.storage_apply(build(str(canary.root)).store(tmp_path))
    assert driver.storage_list().layers == ()
    contained = [build(str(canary.root)).store(tmp_path) for build in CONTAINED.values()]
    for layer in contained:
        driver.storage_apply(layer)
    assert set(driver.storage_list().layers) == {layer.diff_id for layer in contained}


def test_setuid_and_capabilities_stay_inside_the_layer(tmp_path):
    capability = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
    layer = (
        LayerTar()
        .directory("./", mode=0o755)
        .file("su", b"x", {"security.capability": capability}, mode=0o6755, uid=5, gid=6)
    )
    driver = OverlayStorage(
        "overlay", OverlayStorage.Config(worker_idle_seconds=0.2), str(tmp_path / "storage")
    )
    request = layer.store(tmp_path)
    driver.storage_apply(request)
    path = tmp_path / "storage/layers" / request.diff_id[7:] / "fs/su"
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o6755
    assert (status.st_uid, status.st_gid) == (5, 6)
    assert os.getxattr(path, "security.capability") == capability
    for directory in ("storage", "storage/layers", f"storage/layers/{request.diff_id[7:]}"):
        assert stat.S_IMODE((tmp_path / directory).stat().st_mode) == 0o700


def test_attributes_of_the_host_are_dropped(tmp_path):
    hostile = {
        "security.selinux": b"a",
        "security.ima": b"a",
        "trusted.overlay.opaque": b"y",
        "trusted.x": b"a",
        "user.overlay.redirect": b"/",
    }
    unpack_here(
        LayerTar()
        .file("f", b"x", {**hostile, "user.kept": b"1"})
        .directory("d", {**hostile, "user.kept": b"1"})
        .store(tmp_path),
        tmp_path / "layer",
    )
    for name in ("f", "d"):
        assert os.listxattr(tmp_path / "layer/fs" / name) == ["user.kept"]


def test_malformed_capability_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidArgument, match=r'"f".*security\.capability'):
        unpack_here(
            LayerTar().file("f", b"x", {"security.capability": b"junk"}).store(tmp_path), tmp_path / "layer"
        )
