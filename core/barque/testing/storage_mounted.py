"""The part of the storage kit about what a container sees. These tests mount, and need root."""

from __future__ import annotations

from pathlib import Path

import pytest

from barque.spi.storage import LayerApply, SnapshotPrepare, StorageHooks
from barque.testing.layers import LayerTar
from barque.testing.mounted import MountedSnapshot

__all__ = ["StorageMounted"]


class StorageMounted:
    """Tests of the kit; `StorageConformance` provides the fixtures."""

    @pytest.mark.root
    def test_mounted_layers_are_stacked(self, driver: StorageHooks, tmp_path: Path) -> None:
        low = LayerTar().directory("etc").file("etc/a", b"low").file("etc/b", b"low").store(tmp_path)
        high = LayerTar().directory("etc").file("etc/b", b"high").file("etc/c", b"high").store(tmp_path)
        with self._mounted(driver, tmp_path, low, high) as root:
            assert [root.read(f"etc/{name}") for name in "abc"] == [b"low", b"high", b"high"]

    @pytest.mark.root
    def test_mounted_image_of_120_layers(self, driver: StorageHooks, tmp_path: Path) -> None:
        layers = [
            LayerTar().file(f"own{number}").file("top", b"%d" % number).store(tmp_path)
            for number in range(120)
        ]
        with self._mounted(driver, tmp_path, *layers) as root:
            assert len(root.tree()) == 121
            assert root.read("top") == b"119"

    @pytest.mark.root
    def test_mounted_whiteouts_hide_lower_layers(self, driver: StorageHooks, tmp_path: Path) -> None:
        low = (
            LayerTar().file("gone").file("kept").file("dir/gone").file("opaque/gone").file("opaque/deep/gone")
        )
        high = LayerTar().whiteout("gone").whiteout("dir").opaque("opaque").file("opaque/new")
        with self._mounted(driver, tmp_path, low.store(tmp_path), high.store(tmp_path)) as root:
            assert set(root.tree()) == {"kept", "opaque", "opaque/new"}

    @pytest.mark.root
    def test_mounted_attributes_are_those_of_the_tar(self, driver: StorageHooks, tmp_path: Path) -> None:
        layer = (
            LayerTar()
            .directory("d", mode=0o1770, uid=5, gid=6, mtime=1_500_000_000)
            .file("d/suid", b"x", mode=0o4755, uid=1000, gid=1000, mtime=1_400_000_000)
            .symlink("link", "d/suid", uid=7, gid=7)
            .hardlink("again", "d/suid")
        )
        with self._mounted(driver, tmp_path, layer.store(tmp_path)) as root:
            tree = root.tree()
        directory, suid, link = tree["d"], tree["d/suid"], tree["link"]
        assert (directory["mode"], directory["uid"], directory["gid"], directory["mtime"]) == (
            0o1770,
            5,
            6,
            1_500_000_000,
        )
        assert (suid["mode"], suid["uid"], suid["gid"], suid["mtime"]) == (0o4755, 1000, 1000, 1_400_000_000)
        assert (link["type"], link["link"], link["uid"]) == ("symlink", "d/suid", 7)
        assert (tree["again"]["type"], tree["again"]["nlink"], tree["again"]["mode"]) == ("file", 2, 0o4755)

    @pytest.mark.root
    def test_mounted_snapshot_without_layers_is_empty(self, driver: StorageHooks, tmp_path: Path) -> None:
        with self._mounted(driver, tmp_path) as root:
            assert root.tree() == {}
            root.write("a", b"data")
            assert root.read("a") == b"data"

    @pytest.mark.root
    def test_mounted_writes_stay_in_their_snapshot(self, driver: StorageHooks, tmp_path: Path) -> None:
        layer = LayerTar().file("shared", b"image").file("gone", b"image").store(tmp_path)
        driver.storage_apply(layer)
        for key in ("one", "two"):
            driver.storage_prepare(SnapshotPrepare(key, (layer.diff_id,)))
        with MountedSnapshot(driver.storage_mounts("one"), tmp_path / "one") as root:
            root.write("shared", b"changed")
            root.write("big", b"x" * 100_000)
            root.remove("gone")
        usage = driver.storage_usage("one")
        assert usage.bytes >= 100_000
        assert usage.inodes in (2, 3)  # to delete a file of the image takes one, or does not
        with MountedSnapshot(driver.storage_mounts("two"), tmp_path / "two") as root:
            assert set(root.tree()) == {"shared", "gone"}
            assert root.read("shared") == b"image"
        with MountedSnapshot(driver.storage_mounts("one"), tmp_path / "again") as root:
            assert set(root.tree()) == {"shared", "big"}

    def _mounted(self, driver: StorageHooks, directory: Path, *layers: LayerApply) -> MountedSnapshot:
        for layer in layers:
            driver.storage_apply(layer)
        driver.storage_prepare(SnapshotPrepare("mounted", tuple(layer.diff_id for layer in layers)))
        return MountedSnapshot(driver.storage_mounts("mounted"), directory / "mounted")
