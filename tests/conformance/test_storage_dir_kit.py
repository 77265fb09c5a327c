"""The dir driver passes the conformance kit of kind `storage`: where copies are copies, and where they share blocks."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest

from barque.spi.storage import SnapshotPrepare
from barque.testing import need
from barque.testing.layers import LayerTar
from barque.testing.storage import StorageConformance
from barque_storage_dir.plugin import DirStorage

pytestmark = pytest.mark.root


def driver_at(root):
    return DirStorage("dir", DirStorage.Config(worker_idle_seconds=1.0), str(root / "storage"))


class TestDirStorage(StorageConformance):
    @pytest.fixture
    def driver(self, tmp_path):
        return driver_at(tmp_path)


@contextlib.contextmanager
def disk(kind, directory):
    """A mounted file system of a kind on which files can share blocks."""
    image, mount = directory / "image", directory / "disk"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(400_000_000)
    subprocess.run([need.tool(f"mkfs.{kind}"), "-q", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, mount], check=False).returncode:
        need.unavailable(f"needs loop devices and {kind}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


@pytest.fixture(scope="module")
def btrfs(tmp_path_factory):
    with disk("btrfs", tmp_path_factory.mktemp("btrfs")) as mount:
        yield mount


@pytest.fixture(scope="module")
def xfs(tmp_path_factory):
    with disk("xfs", tmp_path_factory.mktemp("xfs")) as mount:
        yield mount


class TestDirStorageWithReflinks(StorageConformance):
    """The kit on btrfs, which differs most from ext4: inode numbers and devices of its own."""

    @pytest.fixture
    def driver(self, btrfs, tmp_path):
        directory = btrfs / tmp_path.name
        directory.mkdir()
        return driver_at(directory)


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
class TestSharedBlocks:
    @pytest.fixture
    def driver(self, kind, request, tmp_path):
        directory = request.getfixturevalue(kind) / tmp_path.name
        directory.mkdir()
        return driver_at(directory)

    def test_the_probe_tells_that_blocks_are_shared(self, driver):
        assert driver.storage_probe().facts["reflink"] == "yes"

    def test_snapshots_take_no_blocks_of_their_own(self, driver, tmp_path):
        """A copy of 40 MB leaves the free space as it was, within a few megabytes of metadata."""
        request = LayerTar().file("big", os.urandom(40_000_000)).store(tmp_path, "plain")
        driver.storage_apply(request)
        free = os.statvfs(driver.root).f_bavail * os.statvfs(driver.root).f_frsize
        for key in ("one", "two", "three"):
            driver.storage_prepare(SnapshotPrepare(key, (request.diff_id,)))
        os.sync()
        assert free - os.statvfs(driver.root).f_bavail * os.statvfs(driver.root).f_frsize < 20_000_000
