"""Rows R18 and R21: no space, no inodes, read-only. On a small journaled ext4 of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from barque.spi.errors import FailedPrecondition, ResourceExhausted
from barque.spi.storage import SnapshotPrepare
from barque.testing import need
from barque.testing.layers import LayerTar
from barque_storage_overlay.plugin import OverlayStorage

pytestmark = [pytest.mark.root, pytest.mark.row("R18")]


@pytest.fixture
def disk(tmp_path):
    """A mounted ext4 of 60 MB."""
    image, mount = tmp_path / "image", tmp_path / "disk"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(60_000_000)
    subprocess.run([need.tool("mkfs.ext4"), "-q", "-N", "2000", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, mount], check=False).returncode:
        need.unavailable("needs loop devices")
    yield mount
    for _attempt in range(100):
        if subprocess.run(["umount", mount], check=False, capture_output=True).returncode == 0:
            break
        time.sleep(0.05)
    else:
        subprocess.run(["umount", "-l", mount], check=True)


@pytest.fixture
def driver(disk):
    return OverlayStorage("overlay", OverlayStorage.Config(worker_idle_seconds=0.1), str(disk / "storage"))


def used(disk):
    os.sync()
    status = os.statvfs(disk)
    return (status.f_blocks - status.f_bfree) * status.f_frsize, status.f_files - status.f_ffree


def back_to(disk, before):
    """Wait until the space is back, within a megabyte, and the inodes are."""
    deadline = time.monotonic() + 10
    while True:
        now = used(disk)
        if now[0] - before[0] <= 1_000_000 and now[1] <= before[1]:
            return
        assert time.monotonic() < deadline, f"used {now}, before {before}"
        time.sleep(0.05)


def test_no_space_names_the_cause_and_gives_the_space_back(driver, disk, tmp_path):
    small = LayerTar().file("small", b"x").store(tmp_path)
    driver.storage_apply(small)
    before = used(disk)
    request = LayerTar().file("big", os.urandom(80_000_000)).store(tmp_path, "plain")
    with pytest.raises(ResourceExhausted, match="No space left on device") as caught:
        driver.storage_apply(request)
    assert '"big"' in caught.value.message
    assert str(disk) in caught.value.message
    assert "free space" in caught.value.hint
    back_to(disk, before)
    assert driver.storage_list().layers == (small.diff_id,)
    driver.storage_apply(LayerTar().file("fits", b"x" * 10_000_000).store(tmp_path))


def test_no_space_for_two_at_once(driver, disk, tmp_path):
    before = used(disk)
    requests = [LayerTar().file("big", os.urandom(45_000_000)).store(tmp_path, "plain") for _ in range(2)]

    def attempt(request):
        try:
            driver.storage_apply(request)
        except ResourceExhausted:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        outcome = list(pool.map(attempt, requests))
    assert outcome.count(True) <= 1
    for diff_id in driver.storage_list().layers:
        driver.storage_remove_layer(diff_id)
    back_to(disk, before)


@pytest.mark.row("R21")
def test_no_inodes(driver, disk, tmp_path):
    before = used(disk)
    layer = LayerTar()
    for number in range(3000):
        layer.file(f"{number}")
    with pytest.raises(ResourceExhausted, match="No space left on device") as caught:
        driver.storage_apply(layer.store(tmp_path))
    assert "inodes" in caught.value.hint
    back_to(disk, before)
    driver.storage_apply(LayerTar().file("fits").store(tmp_path))


@pytest.mark.row("R21")
def test_read_only_file_system(driver, disk, tmp_path):
    request = LayerTar().file("a").store(tmp_path)
    driver.storage_apply(request)
    driver.storage_prepare(SnapshotPrepare("c1", (request.diff_id,)))
    time.sleep(0.5)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(FailedPrecondition, match="Read-only file system"):
        driver.storage_apply(LayerTar().file("b").store(tmp_path))
    with pytest.raises(FailedPrecondition, match="Read-only file system"):
        driver.storage_prepare(SnapshotPrepare("c2", ()))
    with pytest.raises(FailedPrecondition, match="Read-only file system"):
        driver.storage_remove("c1")
    assert driver.storage_list().layers == (request.diff_id,)
    assert driver.storage_mounts("c1")


@pytest.mark.row("R6")
def test_power_cut_keeps_what_was_acknowledged(driver, disk, tmp_path):
    """The ext4 shutdown ioctl drops what is not on the disk. A layer that was applied is whole; a snapshot is there
    when anything was fsynced after it, as the engine's own record of the container is."""
    import fcntl
    import struct

    request = LayerTar().directory("d", mode=0o711).file("d/f", b"content" * 1000).store(tmp_path)
    driver.storage_apply(request)
    driver.storage_prepare(SnapshotPrepare("c1", (request.diff_id,)))
    with open(disk / "record", "wb") as file:
        file.write(b"the engine's record")
        file.flush()
        os.fsync(file.fileno())
    time.sleep(0.5)
    fd = os.open(disk, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, 0x8004587D, struct.pack("I", 2))
    finally:
        os.close(fd)
    subprocess.run(["umount", disk], check=True)
    # a copy: a mount namespace that another test made meanwhile may keep the file system that was cut off alive
    shutil.copy(tmp_path / "image", tmp_path / "afterwards")
    subprocess.run(["mount", "-o", "loop", tmp_path / "afterwards", disk], check=True)
    after = OverlayStorage("overlay", OverlayStorage.Config(), str(disk / "storage"))
    listed = after.storage_list()
    assert (listed.layers, listed.snapshots) == ((request.diff_id,), ("c1",))
    files = disk / "storage/layers" / request.diff_id[7:] / "fs"
    assert (files / "d/f").read_bytes() == b"content" * 1000
    assert (files / "d").stat().st_mode & 0o777 == 0o711
    assert after.storage_usage(request.diff_id).inodes == 2
    assert "lowerdir=" in after.storage_mounts("c1")[0].options[0]
    deadline = time.monotonic() + 5
    while os.listdir(disk / "storage/trash"):
        assert time.monotonic() < deadline
