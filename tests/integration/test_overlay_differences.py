"""Diffs of overlay snapshots beyond the kit: hostile trees, workers that die, what overlayfs leaves in the upper directory."""

import io
import os
import signal
import tarfile
import time
from pathlib import Path

import pytest

from barque.spi.errors import Internal
from barque.spi.storage import SnapshotPrepare
from barque.testing.layers import LayerTar
from barque.testing.mounted import MountedSnapshot
from barque_storage_overlay.plugin import OverlayStorage

pytestmark = pytest.mark.root


@pytest.fixture
def driver(tmp_path):
    return OverlayStorage(
        "overlay", OverlayStorage.Config(worker_idle_seconds=0.2), str(tmp_path / "storage")
    )


@pytest.fixture
def changed(driver, tmp_path):
    """changed(script, *layers): a snapshot in which the script ran."""

    def make(script, *layers, key="c1"):
        requests = [layer.store(tmp_path) for layer in layers]
        for request in requests:
            driver.storage_apply(request)
        driver.storage_prepare(SnapshotPrepare(key, tuple(request.diff_id for request in requests)))
        with MountedSnapshot(driver.storage_mounts(key), tmp_path / key) as root:
            root.shell(script)
        return key

    return make


def told(driver, key="c1"):
    return [f"{change.kind.value} {change.path}" for change in driver.storage_changes(key)]


def packed(driver, key="c1"):
    pieces = []
    driver.storage_diff(key, pieces.append)
    return tarfile.open(fileobj=io.BytesIO(b"".join(pieces)))


def workers():
    """Processes that pack, of this test run."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if b"barque_storage_overlay.packing" in words and parent == os.getpid():
            found.append(int(pid))
    return found


def test_links_of_layers_do_not_lead_to_the_host(driver, changed):
    low = (
        LayerTar()
        .symlink("etc", "/etc")
        .symlink("up", "../../../..")
        .directory("d")
        .symlink("d/passwd", "/etc/passwd")
    )
    changed("rm etc up; mkdir etc up; echo > etc/passwd; echo > up/x; rm d/passwd; echo > d/passwd", low)
    assert told(driver) == [
        "modified /d", "modified /d/passwd", "modified /etc", "added /etc/passwd", "modified /up", "added /up/x",
    ]  # fmt: skip


def test_whiteouts_of_many_layers(driver, changed):
    """`a` is in the lowest layer, gone in the second, a file in the third; `b` hides everything of the first."""
    low = LayerTar().directory("a").file("a/1").directory("b").file("b/1").file("b/2")
    middle = LayerTar().whiteout("a").opaque("b").file("b/3")
    high = LayerTar().file("a", b"x")
    changed("rm a; mkdir a; echo > a/1; rm b/3; echo > b/1", low, middle, high)
    assert told(driver) == ["modified /a", "added /a/1", "modified /b", "added /b/1", "deleted /b/3"]
    assert packed(driver).getnames() == ["a", "a/.wh..wh..opq", "a/1", "b", "b/1", "b/.wh.3"]


def test_nothing_of_overlayfs_is_told_or_packed(driver, changed, tmp_path):
    changed(
        "mv d/f d/g; mkdir n; mv n d/n; echo >> d/h; ln d/h l",
        LayerTar().directory("d").file("d/f").file("d/h"),
    )
    upper = tmp_path / "storage/snapshots/c1/upper"
    attributes = {name for path in upper.rglob("*") if not path.is_symlink() for name in os.listxattr(path)}
    assert any(name.startswith("trusted.overlay.") for name in attributes)
    assert not [entry.name for entry in packed(driver) if "SCHILY" in str(entry.pax_headers)]


def test_a_whole_tree_moved_is_packed_whole(driver, changed):
    """redirect_dir=nofollow: a directory of the layers is not renamed by a note of where it was."""
    with pytest.raises(AssertionError, match="Invalid cross-device link"):
        changed(
            'python3 -c \'import os; os.rename("d", "e")\'', LayerTar().directory("d").file("d/f", b"content")
        )
    with MountedSnapshot(driver.storage_mounts("c1"), Path(driver.root) / "mnt") as root:
        root.shell("mv d e")
    tar = packed(driver)
    assert tar.getnames() == [".wh.d", "e", "e/f"]
    assert tar.extractfile("e/f").read() == b"content"


def test_a_worker_that_dies_is_told(driver, changed):
    changed("dd if=/dev/zero of=big bs=1M count=30 status=none", LayerTar())

    def kill(_data):
        for pid in workers():
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(Internal, match="packing snapshot c1: the worker process was killed"):
        driver.storage_diff("c1", kill)
    assert "big" in packed(driver).getnames()


def test_no_worker_writes_for_nobody(driver, changed):
    changed("dd if=/dev/zero of=big bs=1M count=30 status=none", LayerTar())

    def leave(_data):
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        driver.storage_diff("c1", leave)
    deadline = time.monotonic() + 10
    while workers():
        assert time.monotonic() < deadline, "a worker is left"
        time.sleep(0.05)


def test_many_differences_at_once(driver, changed):
    from concurrent.futures import ThreadPoolExecutor

    for number in range(12):
        changed(f"echo {number} > own", LayerTar().file("f"), key=f"c{number}")
    with ThreadPoolExecutor(12) as pool:
        contents = list(
            pool.map(lambda number: packed(driver, f"c{number}").extractfile("own").read(), range(12))
        )
        assert contents == [b"%d\n" % number for number in range(12)]
        assert list(pool.map(lambda number: told(driver, f"c{number}"), range(12))) == [["added /own"]] * 12


def test_a_removed_snapshot_is_unknown(driver, changed):
    from barque.spi.errors import NotFound

    changed("echo > f", LayerTar())
    driver.storage_remove("c1")
    with pytest.raises(NotFound):
        driver.storage_changes("c1")


def test_the_roots_own_attributes(driver, changed):
    changed("chmod 700 .; chown 5:6 .", LayerTar())
    (entry,) = packed(driver).getmembers()
    assert (entry.name, entry.mode, entry.uid, entry.gid) == (".", 0o700, 5, 6)
