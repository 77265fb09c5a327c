"""The part of the storage kit about what drivers may offer: snapshots that are held to a size, and shifted owners.

A driver without the capability skips these tests, and so does one whose file system cannot do it, after it said so in the
contract's words.
"""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque.spi.storage import IdRange, LayerApply, SnapshotPrepare, StorageCapability, StorageHooks
from barque.testing.layers import LayerTar
from barque.testing.mounted import MountedSnapshot
from barque.testing.storage_lab import Rebuild, assert_nothing_left, census

__all__ = ["StorageLimits"]

_SIZE = 2 << 20
_FULL = re.compile("Disk quota exceeded|No space left on device")  # ext4, xfs
_FIRST = 200_000
_SHIFT = (IdRange("u", 0, _FIRST, 65536), IdRange("g", 0, _FIRST + 100_000, 65536))


class StorageLimits:
    """Tests of the kit; `StorageConformance` provides the fixtures."""

    @pytest.mark.root
    def test_quota_holds_one_snapshot_and_no_other(self, driver: StorageHooks, tmp_path: Path) -> None:
        layer = LayerTar().file("shared", b"image" * 100_000).store(tmp_path)
        driver.storage_apply(layer)
        _prepare(driver, SnapshotPrepare("small", (layer.diff_id,), size=_SIZE), StorageCapability.QUOTA)
        driver.storage_prepare(SnapshotPrepare("free", (layer.diff_id,)))
        with MountedSnapshot(driver.storage_mounts("small"), tmp_path / "small") as root:
            root.write("fits", b"x" * (_SIZE // 2))
            with pytest.raises(AssertionError, match=_FULL):
                root.write("big", b"x" * 2 * _SIZE)
            root.remove("fits")
            root.remove("big")
            root.write("again", b"x" * (_SIZE // 2))
        with MountedSnapshot(driver.storage_mounts("free"), tmp_path / "free") as root:
            root.write("big", b"x" * 2 * _SIZE)
        assert driver.storage_usage("small").bytes <= _SIZE

    @pytest.mark.root
    def test_quota_outlives_the_driver(self, driver: StorageHooks, rebuild: Rebuild, tmp_path: Path) -> None:
        _prepare(driver, SnapshotPrepare("small", (), size=_SIZE), StorageCapability.QUOTA)
        create, arguments = rebuild
        later = create(*arguments)
        with (
            MountedSnapshot(later.storage_mounts("small"), tmp_path / "small") as root,
            pytest.raises(AssertionError, match=_FULL),
        ):
            root.write("big", b"x" * 2 * _SIZE)

    @pytest.mark.root
    def test_quota_goes_with_its_snapshot(self, driver: Any) -> None:
        before = census(driver.root)
        for _round in range(3):
            _prepare(driver, SnapshotPrepare("small", (), size=_SIZE), StorageCapability.QUOTA)
            driver.storage_remove("small")
        assert_nothing_left(driver, before)

    @pytest.mark.root
    def test_shifted_owners_are_the_containers(self, driver: StorageHooks, tmp_path: Path) -> None:
        low = LayerTar().directory("d", uid=0, gid=0).file("d/root", b"x", uid=0, gid=0)
        high = LayerTar().file("d/user", b"x", uid=1000, gid=100).symlink("link", "d", uid=1000, gid=100)
        with _shifted(driver, tmp_path, low.store(tmp_path), high.store(tmp_path)) as root:
            tree = root.tree()
        owners = {
            path: (found["uid"] - _FIRST, found["gid"] - _FIRST - 100_000) for path, found in tree.items()
        }
        assert owners == {"d": (0, 0), "d/root": (0, 0), "d/user": (1000, 100), "link": (1000, 100)}

    @pytest.mark.root
    def test_what_a_shifted_container_writes_is_its_own(self, driver: StorageHooks, tmp_path: Path) -> None:
        layer = LayerTar().file("image", b"x", uid=0, gid=0).store(tmp_path)
        container_root = (_FIRST, _FIRST + 100_000)
        with _shifted(driver, tmp_path, layer) as root:
            root.write("new", b"data", owner=container_root)
            root.write("image", b"changed", owner=container_root)
            tree = root.tree()
        assert {(tree[name]["uid"], tree[name]["gid"]) for name in ("new", "image")} == {container_root}
        with MountedSnapshot(driver.storage_mounts("shifted"), tmp_path / "again") as root:
            assert root.read("image") == b"changed"
            assert root.tree()["new"]["uid"] == _FIRST
        if StorageCapability.DIFF in _capabilities(driver):
            pieces: list[bytes] = []
            driver.storage_diff("shifted", pieces.append)
            with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
                assert {(m.name, m.uid, m.gid) for m in tar} == {("image", 0, 0), ("new", 0, 0)}

    @pytest.mark.root
    @pytest.mark.parametrize(
        "row",
        [IdRange("x", 0, 1, 1), IdRange("u", -1, 1, 1), IdRange("u", 0, 1, 0), IdRange("b", 0, 1, 1 << 33)],
    )
    def test_ranges_that_are_none_are_refused(self, driver: StorageHooks, row: IdRange) -> None:
        if StorageCapability.IDMAP not in _capabilities(driver):
            pytest.skip("the driver does not map owners")
        with pytest.raises(InvalidArgument):
            driver.storage_prepare(SnapshotPrepare("shifted", (), idmap=(row,)))
        assert driver.storage_list().snapshots == ()


def _shifted(driver: StorageHooks, directory: Path, *layers: LayerApply) -> MountedSnapshot:
    for layer in layers:
        driver.storage_apply(layer)
    diff_ids = tuple(layer.diff_id for layer in layers)
    _prepare(driver, SnapshotPrepare("shifted", diff_ids, idmap=_SHIFT), StorageCapability.IDMAP)
    return MountedSnapshot(driver.storage_mounts("shifted"), directory / "shifted")


def _prepare(driver: StorageHooks, request: SnapshotPrepare, capability: StorageCapability) -> None:
    """Prepare, or skip the test: without the capability, or where this host cannot, which the driver explains."""
    if capability not in _capabilities(driver):
        pytest.skip(f"the driver has not the capability {capability}")
    try:
        driver.storage_prepare(request)
        return
    except FailedPrecondition as error:
        refusal = error
    assert refusal.message
    assert refusal.hint, "the remedy is missing"
    assert request.key not in driver.storage_list().snapshots
    pytest.skip(f"this host: {refusal.message}")


def _capabilities(driver: StorageHooks) -> frozenset[StorageCapability]:
    found: frozenset[StorageCapability] = getattr(driver, "capabilities", frozenset())
    return found
