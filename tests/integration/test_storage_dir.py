"""The dir driver shows what overlayfs shows, tells the changes overlayfs would tell, and copies files with all they have."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barque.spi.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from barque.spi.storage import Change, ChangeKind, SnapshotPrepare
from barque.testing import need
from barque.testing.layers import LayerTar
from barque.testing.mounted import MountedSnapshot
from barque_storage_dir.plugin import DirStorage
from barque_storage_overlay.plugin import OverlayStorage

pytestmark = pytest.mark.root

PARTS = ("a", "b", "c", ".wh.a", ".wh.b", ".wh..wh..opq")
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map("/".join)
KINDS = st.sampled_from(["file", "directory", "symlink", "hardlink", "fifo", "device"])
LAYER = st.lists(st.tuples(KINDS, NAMES, NAMES), max_size=8)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("drivers")


@pytest.fixture(scope="module")
def drivers(base):
    """Both, on roots of their own."""
    return (
        OverlayStorage("overlay", OverlayStorage.Config(), str(base / "overlay")),
        DirStorage("dir", DirStorage.Config(), str(base / "dir")),
    )


@pytest.fixture
def driver(tmp_path):
    return DirStorage("dir", DirStorage.Config(worker_idle_seconds=0.5), str(tmp_path / "storage"))


def tar_of(entries):
    layer = LayerTar()
    for kind, name, target in entries:
        match kind:
            case "file":
                layer.file(name, target.encode(), {"user.a": b"b"}, mode=0o4755, uid=7)
            case "directory":
                layer.directory(name, mode=0o1711, uid=8)
            case "symlink":
                layer.symlink(name, target, uid=9)
            case "hardlink":
                layer.hardlink(name, target)
            case "fifo":
                layer.fifo(name, mode=0o640)
            case "device":
                layer.device(name, 1, 3, mode=0o622)
    return layer


def shown(driver, requests, directory):
    """What a container sees over the layers, or the class of the error."""
    try:
        for request in requests:
            driver.storage_apply(request)
    except InvalidArgument:
        return "refused"
    driver.storage_prepare(SnapshotPrepare("c", tuple(request.diff_id for request in requests)))
    try:
        with MountedSnapshot(driver.storage_mounts("c"), directory / driver.name) as root:
            tree = root.tree()
    finally:
        driver.storage_remove("c")
    for found in tree.values():
        found.pop("nlink", None)
        if found["type"] == "directory":
            del found["size"], found["mtime"]
    # overlayfs lists a whiteout in a directory that no lower layer has, though there is no file
    return {path: found for path, found in tree.items() if found["type"] != "missing"}


@given(st.lists(LAYER, min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_any_layers_look_as_overlayfs_shows_them(base, drivers, layers):
    requests = [tar_of(entries).store(base) for entries in layers]
    overlay, copies = (shown(driver, requests, base) for driver in drivers)
    assert copies == overlay


LOW = (
    LayerTar()
    .directory("etc", mode=0o755)
    .file("etc/changed", b"old")
    .file("etc/same", b"same")
    .file("etc/gone", b"x")
    .directory("deep/er", mode=0o755)
    .file("deep/er/file", b"x")
    .symlink("link", "etc/same")
    .file("one", b"linked")
    .hardlink("two", "one")
    .file("kind", b"x")
)
CHANGES = """
echo new > etc/changed; rm etc/gone; rm -r deep; mkdir -p new/tree; echo x > new/tree/a; ln new/tree/a new/tree/b
ln -sfn etc link; chmod 600 one; rm kind; mkdir kind; echo y > kind/inside; mkfifo fifo; touch -d @1500000000 new/tree/a new/tree/b
"""


def changed(driver, tmp_path, script, layers=(LOW,)):
    requests = [layer.store(tmp_path) for layer in layers]
    for request in requests:
        driver.storage_apply(request)
    driver.storage_prepare(SnapshotPrepare("c", tuple(request.diff_id for request in requests)))
    with MountedSnapshot(driver.storage_mounts("c"), tmp_path / "c") as root:
        root.shell(script)
    pieces = []
    driver.storage_diff("c", pieces.append)
    return driver.storage_changes("c"), b"".join(pieces)


def test_changes_are_told_in_dockers_way(driver, tmp_path):
    changes, _tar = changed(driver, tmp_path, CHANGES)
    told = {change.path: change.kind.value[0].upper() for change in changes}
    assert told == {
        "/etc": "M", "/etc/changed": "M", "/etc/gone": "D", "/deep": "D", "/new": "A", "/new/tree": "A", "/new/tree/a": "A",
        "/new/tree/b": "A", "/link": "M", "/one": "M", "/two": "M", "/kind": "M", "/kind/inside": "A", "/fifo": "A",
    }  # fmt: skip
    assert [change.path for change in changes] == sorted(told)


def test_the_diff_is_a_layer_that_gives_the_same_tree(driver, tmp_path):
    _changes, tar = changed(driver, tmp_path, CHANGES)
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        assert "etc/.wh.gone" in opened.getnames()
        assert opened.getmember("new/tree/b").islnk()
        assert "etc/same" not in opened.getnames()
    top = LayerTar().raw(tar).store(tmp_path, "plain")
    low = LOW.store(tmp_path)
    driver.storage_apply(top)
    with MountedSnapshot(driver.storage_mounts("c"), tmp_path / "before") as root:
        before = root.tree()
    driver.storage_prepare(SnapshotPrepare("again", (low.diff_id, top.diff_id)))
    with MountedSnapshot(driver.storage_mounts("again"), tmp_path / "after") as root:
        after = root.tree()
    for tree in (before, after):
        for found in tree.values():
            if found["type"] == "directory":
                found["mtime"] = 0
    assert after == before
    assert driver.storage_changes("again") == ()


def test_the_diff_has_the_same_bytes_each_time(driver, tmp_path):
    _changes, first = changed(driver, tmp_path, CHANGES)
    pieces = []
    driver.storage_diff("c", pieces.append)
    assert b"".join(pieces) == first


def test_a_change_that_hides_its_time_is_found(driver, tmp_path):
    script = "printf other > one; touch -d @1700000000 one; touch etc/same; touch -d @1700000000 etc/same"
    layer = LayerTar().directory("etc").file("etc/same", b"same").file("one", b"bytes")
    changes, _tar = changed(driver, tmp_path, script, (layer,))
    assert changes == (Change("/one", ChangeKind.MODIFIED),)


def test_an_attribute_that_changed_is_found(driver, tmp_path):
    script = (
        f'{sys.executable} -c \'import os; os.setxattr("one", "user.a", b"b")\'; touch -d @1700000000 one'
    )
    changes, _tar = changed(driver, tmp_path, script, (LayerTar().file("one", b"bytes"),))
    assert changes == (Change("/one", ChangeKind.MODIFIED),)


def test_files_are_copied_with_all_they_have(driver, tmp_path):
    capability = b"\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    low = LayerTar().file("hidden", b"x").hardlink("visible", "hidden").hardlink("also", "hidden")
    high = (
        LayerTar()
        .file("ping", b"x", {"security.capability": capability, "user.a": b"b"}, uid=5, gid=6, mode=0o4755, mtime=1_234_567)
        .directory("acl", {"user.dir": b"d"}, mode=0o2775, uid=3, gid=4, mtime=7_654_321)
        .file("acl/inside", b"x")
        .device("null", 1, 3, mode=0o666)
        .device("disk", 8, 1, block=True, gid=6)
        .whiteout("hidden")
    )  # fmt: skip
    requests = (low.store(tmp_path), high.store(tmp_path))
    for request in requests:
        driver.storage_apply(request)
    driver.storage_prepare(SnapshotPrepare("c", tuple(request.diff_id for request in requests)))
    with MountedSnapshot(driver.storage_mounts("c"), tmp_path / "c") as root:
        tree = root.tree()
        assert root.xattrs("ping") == {"security.capability": capability.hex(), "user.a": b"b".hex()}
        assert root.xattrs("acl") == {"user.dir": b"d".hex()}
    ping, acl = tree["ping"], tree["acl"]
    assert (ping["mode"], ping["uid"], ping["gid"], ping["mtime"]) == (0o4755, 5, 6, 1_234_567)
    assert (acl["mode"], acl["uid"], acl["gid"], acl["mtime"]) == (0o2775, 3, 4, 7_654_321)
    assert (tree["null"]["type"], tree["null"]["rdev"]) == ("char", os.makedev(1, 3))
    assert (tree["disk"]["type"], tree["disk"]["gid"]) == ("block", 6)
    assert "hidden" not in tree
    assert tree["visible"]["nlink"] == tree["also"]["nlink"] == 2
    assert driver.storage_usage("c") == driver.storage_usage("c").__class__(0, 0)


def test_holes_stay_holes(driver, tmp_path):
    layer = tmp_path / "sparse.tar"
    with open(tmp_path / "holes", "wb") as file:
        file.truncate(50_000_000)
        file.seek(20_000_000)
        file.write(b"data")
    subprocess.run(["tar", "-C", tmp_path, "--sparse", "-cf", layer, "holes"], check=True)
    request = LayerTar().raw(layer.read_bytes()).store(tmp_path, "plain")
    driver.storage_apply(request)
    driver.storage_prepare(SnapshotPrepare("c", (request.diff_id,)))
    copied = tmp_path / "storage/snapshots/c/fs/holes"
    assert copied.stat().st_size == 50_000_000
    assert copied.stat().st_blocks * 512 < 1_000_000
    assert copied.read_bytes()[20_000_000:20_000_004] == b"data"


def test_a_layer_as_deep_as_they_may_be_over_many_layers(driver, tmp_path):
    requests = [LayerTar().file("/".join(["d"] * 500) + f"/{n}").store(tmp_path) for n in range(5)]
    for request in requests:
        driver.storage_apply(request)
    driver.storage_prepare(SnapshotPrepare("c", tuple(request.diff_id for request in requests)))
    assert driver.storage_changes("c") == ()
    found = sum(len(files) for _, _, files in os.walk(tmp_path / "storage/snapshots/c/fs"))
    assert found == 5


@pytest.mark.row("R18")
def test_a_full_disk_is_named_and_the_space_comes_back(tmp_path):
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    with open(image, "wb") as file:
        file.truncate(60_000_000)
    subprocess.run([need.tool("mkfs.ext4"), "-q", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, disk], check=False).returncode:
        need.unavailable("needs loop devices")
    try:
        driver = DirStorage("dir", DirStorage.Config(worker_idle_seconds=0.1), str(disk / "storage"))
        request = LayerTar().file("big", os.urandom(20_000_000)).store(tmp_path, "plain")
        driver.storage_apply(request)
        driver.storage_prepare(SnapshotPrepare("one", (request.diff_id,)))
        before = free_bytes(disk)
        with pytest.raises(ResourceExhausted, match="No space left on device") as caught:
            driver.storage_prepare(SnapshotPrepare("two", (request.diff_id,)))
        assert "big" in caught.value.message
        assert "free space" in caught.value.hint
        deadline = time.monotonic() + 10
        while free_bytes(disk) < before - 1_000_000:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert driver.storage_list().snapshots == ("one",)
        assert driver.storage_changes("one") == ()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def free_bytes(disk):
    os.sync()
    status = os.statvfs(disk)
    return status.f_bfree * status.f_frsize


def test_a_file_system_that_cannot_hold_an_image_is_refused_with_the_reason(driver, monkeypatch):
    """As FAT answers: no links, no pipes, one mode and one owner for all."""

    def refused(*_arguments, **_options):
        raise PermissionError(1, "Operation not permitted")

    for name in ("symlink", "link", "mkfifo"):
        monkeypatch.setattr(os, name, refused)
    for name in ("chmod", "chown"):
        monkeypatch.setattr(os, name, lambda *_: None)
    answer = driver.storage_probe()
    assert not answer.usable
    told = [problem.what for problem in answer.problems]
    for what in ("symbolic links", "hard links", "named pipes", "the mode of a file", "the owner of a file"):
        assert any(what in text for text in told), what
    assert "ext4" in answer.problems[0].remedy


def test_owners_cannot_be_shifted_on_every_file_system(tmp_path):
    """overlayfs takes no shifted mounts of itself."""
    from barque.spi.storage import IdRange

    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, tmp_path / "merged"], check=True)
    try:
        driver = DirStorage("dir", DirStorage.Config(), str(tmp_path / "merged/storage"))
        assert driver.storage_probe().facts["idmapped_mounts"] != "yes"
        with pytest.raises(FailedPrecondition, match="cannot be mapped") as caught:
            driver.storage_prepare(SnapshotPrepare("c", (), idmap=(IdRange("b", 0, 100_000, 65536),)))
        assert "ext4" in caught.value.hint
        assert driver.storage_list().snapshots == ()
    finally:
        subprocess.run(["umount", "-l", tmp_path / "merged"], check=True)


PROGRAM = """
import pathlib, sys
from barque.spi.errors import FailedPrecondition
from barque.spi.storage import SnapshotPrepare
from barque.testing.layers import LayerTar
from barque.testing.mounted import MountedSnapshot
from barque_storage_dir.plugin import DirStorage

directory = pathlib.Path(sys.argv[1])
driver = DirStorage("dir", DirStorage.Config(), str(directory / "storage"))
assert driver.storage_probe().usable, driver.storage_probe()
low = LayerTar().file("d/gone").file("d/kept").file("opaque/gone").store(directory)
high = LayerTar().whiteout("d/gone").opaque("opaque").file("opaque/new").device("null", 1, 3).store(directory)
for layer in (low, high):
    driver.storage_apply(layer)
driver.storage_prepare(SnapshotPrepare("c1", (low.diff_id, high.diff_id)))
with MountedSnapshot(driver.storage_mounts("c1"), directory / "mnt") as root:
    assert set(root.tree()) == {"d", "d/kept", "opaque", "opaque/new"}, root.tree()
    root.write("d/kept", b"changed")
assert [change.path for change in driver.storage_changes("c1")] == ["/d", "/d/kept"]
driver.storage_diff("c1", lambda _: None)
print("passed")
"""


def test_the_driver_works_for_an_ordinary_user_in_his_namespace(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [need.tool("unshare"), "--user", "--map-root-user", "--mount", sys.executable, "-W", "ignore"]
    done = subprocess.run(
        [*command, "-c", PROGRAM, tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare failed" in done.stderr:
        need.unavailable("needs user namespaces")
    assert done.stdout.strip() == "passed", done.stderr
