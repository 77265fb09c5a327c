"""Size limits of snapshots by project quotas, on an ext4 made for them. `make test-vm` has a kernel that can; not every one can."""

from __future__ import annotations

import ctypes
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque.spi.storage import SnapshotPrepare
from barque.testing import need
from barque.testing.daemon import Daemon, Lab
from barque.testing.mounted import MountedSnapshot
from barque.testing.storage_limits import StorageLimits
from barque_storage_overlay.plugin import OverlayStorage
from barque_storage_overlay.quota import ProjectQuota

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from registry_image import IMAGE, busybox_archive

pytestmark = pytest.mark.root
SIZE = 4 << 20
NEXT_QUOTA = struct.Struct("=8QII")  # struct if_nextdqblk


@pytest.fixture
def disk(tmp_path):
    yield from mounted(tmp_path, "quota,project", "loop,prjquota")


def mounted(tmp_path, features, options):
    image, mount = tmp_path / "image", tmp_path / "disk"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(100_000_000)
    subprocess.run([need.tool("mkfs.ext4"), "-q", "-O", features, image], check=True)
    done = subprocess.run(["mount", "-o", options, image, mount], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this kernel mounts no ext4 with project quotas (CONFIG_QFMT_V2): {done.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


def driver_on(disk):
    return OverlayStorage("overlay", OverlayStorage.Config(worker_idle_seconds=0.1), str(disk / "storage"))


class TestOverlayLimits(StorageLimits):
    """The part of the kit, where it can be had."""

    @pytest.fixture
    def driver(self, disk):
        assert ProjectQuota(str(disk)).why_not() == ""
        return driver_on(disk)

    @pytest.fixture
    def rebuild(self, driver):
        return type(driver), (driver.name, driver.config, driver.root)


def test_a_container_is_held_to_its_size_and_another_is_not(disk, tmp_path):
    lab = Lab()
    daemon = Daemon(disk / "d", lab, profile="minimal")
    daemon.base.mkdir()
    try:
        daemon.start(60.0)
        load(daemon, busybox_archive())
        write = "dd if=/dev/zero of=/data bs=1M count=12"
        free, _log = run(daemon, write, {})
        assert free == 0
        code, log = run(daemon, write, {"size": "8M"})
        assert code == 1
        assert b"Disk quota exceeded" in log
        daemon.stop()
        daemon.start(60.0)
        assert run(daemon, write, {"size": "8M"})[0] == 1
        daemon.json("POST", "/containers/prune")
        deadline = time.monotonic() + 10
        while projects_with_limit(disk):
            assert time.monotonic() < deadline
    finally:
        daemon.close()
        lab.close()


def load(daemon, archive):
    from barque.testing.daemon import _UnixConnection

    connection = _UnixConnection(str(daemon.socket), 60.0)
    connection.request("POST", "/images/load", archive, {"Content-Type": "application/x-tar"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    connection.close()


def run(daemon, script, options):
    """Exit code and output of a container, which is kept."""
    body = {"Image": IMAGE, "Cmd": ["sh", "-c", script], "Tty": True, "HostConfig": {"StorageOpt": options}}
    id = daemon.json("POST", "/containers/create", body)["Id"]
    daemon.json("POST", f"/containers/{id}/start")
    code = daemon.json("POST", f"/containers/{id}/wait")["StatusCode"]
    return code, daemon.request("GET", f"/containers/{id}/logs?stdout=1&stderr=1")[1]


def test_df_in_the_container_tells_the_limit(disk, tmp_path):
    driver = driver_on(disk)
    driver.storage_prepare(SnapshotPrepare("c1", (), size=SIZE))
    with MountedSnapshot(driver.storage_mounts("c1"), tmp_path / "c1") as root:
        assert root.size() <= SIZE


def test_the_limit_is_freed_and_the_space_is_back(disk, tmp_path):
    driver = driver_on(disk)
    for _round in range(3):
        driver.storage_prepare(SnapshotPrepare("c1", (), size=SIZE))
        with MountedSnapshot(driver.storage_mounts("c1"), tmp_path / "c1") as root:
            root.write("data", b"x" * (SIZE - (1 << 20)))
        driver.storage_remove("c1")
    assert projects_with_limit(disk) == 0


def test_a_limit_of_a_snapshot_that_a_crash_left_is_freed(disk):
    driver = driver_on(disk)
    driver.storage_prepare(SnapshotPrepare("c1", (), size=SIZE))
    (disk / "storage/snapshots/c1").rename(disk / "storage/tmp/left")
    assert projects_with_limit(disk) == 1
    driver.storage_list()
    assert projects_with_limit(disk) == 0


def test_the_limit_outlives_a_mount(disk, tmp_path):
    driver_on(disk).storage_prepare(SnapshotPrepare("c1", (), size=SIZE))
    time.sleep(0.5)
    subprocess.run(["umount", disk], check=True)
    subprocess.run(["mount", "-o", "loop,prjquota", tmp_path / "image", disk], check=True)
    with (
        MountedSnapshot(driver_on(disk).storage_mounts("c1"), tmp_path / "c1") as root,
        pytest.raises(AssertionError, match="Disk quota exceeded"),
    ):
        root.write("data", b"x" * 2 * SIZE)


def test_a_size_that_holds_nothing_is_refused(disk):
    with pytest.raises(InvalidArgument, match="bytes at least"):
        driver_on(disk).storage_prepare(SnapshotPrepare("c1", (), size=1000))


def test_without_project_quotas_the_remedy_is_told(tmp_path):
    driver = driver_on(tmp_path)
    with pytest.raises(
        FailedPrecondition, match="supported only for overlay over ext4 or xfs with project quotas"
    ) as caught:
        driver.storage_prepare(SnapshotPrepare("c1", (), size=SIZE))
    assert "prjquota" in caught.value.hint
    assert driver.storage_list().snapshots == ()


def projects_with_limit(disk):
    """How many projects have a limit: Q_GETNEXTQUOTA (quotactl(2)) from the first id that the driver uses."""
    count, id = 0, 1 << 30
    while True:
        record = ctypes.create_string_buffer(NEXT_QUOTA.size)
        try:
            ProjectQuota(str(disk))._quotactl(0x800009, id, record)
        except FileNotFoundError:
            return count
        limit, *_, found = NEXT_QUOTA.unpack(record.raw)
        count += limit > 0
        id = found + 1
