"""The dir driver passes the conformance kit of kind `storage`: where copies are copies, and where they share blocks."""

from __future__ import annotations

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


@pytest.fixture(scope="module", params=["btrfs", "xfs"])
def shared_disk(request, tmp_path_factory):
    """A mounted file system on which files can share blocks."""
    directory = tmp_path_factory.mktemp(request.param)
    image, mount = directory / "image", directory / "disk"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(400_000_000)
    subprocess.run([need.tool(f"mkfs.{request.param}"), "-q", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, mount], check=False).returncode:
        need.unavailable(f"needs loop devices and {request.param}")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


class TestDirStorageWithReflinks(StorageConformance):
    @pytest.fixture
    def driver(self, shared_disk, tmp_path):
        directory = shared_disk / tmp_path.name
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
