"""The part of the storage kit about crashes and leaks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from barque.spi.errors import InvalidArgument
from barque.spi.storage import LayerApply, SnapshotPrepare, StorageHooks, StorageList
from barque.testing.layers import LayerTar
from barque.testing.storage_lab import (
    Rebuild,
    apply_layer,
    assert_nothing_left,
    census,
    churn_snapshots,
    kill_in_call,
    large_layer,
    wait_until,
)

__all__ = ["StorageCrashes"]

_KILLS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)


class StorageCrashes:
    """Tests of the kit; `StorageConformance` provides the fixtures."""

    def test_next_instance_finds_everything(
        self, driver: StorageHooks, rebuild: Rebuild, layer: LayerApply
    ) -> None:
        usage = driver.storage_apply(layer)
        driver.storage_prepare(SnapshotPrepare("c1", (layer.diff_id,)))
        create, arguments = rebuild
        other = create(*arguments)
        assert other.storage_list() == StorageList((layer.diff_id,), ("c1",))
        assert other.storage_mounts("c1") == driver.storage_mounts("c1")
        assert other.storage_usage(layer.diff_id) == usage

    @pytest.mark.parametrize("after", _KILLS)
    def test_killed_apply_leaves_a_whole_layer_or_nothing(
        self, driver: Any, rebuild: Rebuild, tmp_path: Path, after: float
    ) -> None:
        before = census(driver.root)
        request = large_layer(tmp_path)
        kill_in_call(rebuild, apply_layer, (request,), after)
        create, arguments = rebuild
        fresh = create(*arguments)
        if fresh.storage_list().layers:
            assert fresh.storage_usage(request.diff_id).inodes == 401
            fresh.storage_remove_layer(request.diff_id)
        assert_nothing_left(fresh, before)
        assert fresh.storage_apply(request).inodes == 401

    @pytest.mark.parametrize("after", _KILLS)
    def test_killed_snapshots_are_whole_or_nothing(self, driver: Any, rebuild: Rebuild, after: float) -> None:
        before = census(driver.root)
        kill_in_call(rebuild, churn_snapshots, (), after)
        create, arguments = rebuild
        fresh = create(*arguments)
        for key in fresh.storage_list().snapshots:
            assert fresh.storage_mounts(key)
            fresh.storage_remove(key)
        assert_nothing_left(fresh, before)

    def test_everything_removed_leaves_nothing(self, driver: Any, layer: LayerApply) -> None:
        before = census(driver.root)
        driver.storage_apply(layer)
        for number in range(10):
            driver.storage_prepare(SnapshotPrepare(f"c{number}", (layer.diff_id,)))
        for number in range(10):
            driver.storage_remove(f"c{number}")
        driver.storage_remove_layer(layer.diff_id)
        assert_nothing_left(driver, before)

    def test_descriptors_are_closed(self, driver: Any, layer: LayerApply, tmp_path: Path) -> None:
        driver.storage_apply(layer)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(5):
            with pytest.raises(InvalidArgument):
                driver.storage_apply(LayerTar().file(f"../{number}").store(tmp_path))
            driver.storage_prepare(SnapshotPrepare(f"c{number}", (layer.diff_id,)))
            driver.storage_usage(f"c{number}")
            driver.storage_remove(f"c{number}")
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, "descriptors were leaked")
