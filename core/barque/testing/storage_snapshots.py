"""The part of the storage kit about snapshots."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from barque.spi.errors import AlreadyExists, InvalidArgument, NotFound
from barque.spi.storage import LayerApply, SnapshotPrepare, StorageHooks
from barque.testing.layers import LayerTar
from barque.testing.storage_lab import (
    MISSING,
    assert_nothing_left,
    census,
)

__all__ = ["StorageSnapshots"]

_MALFORMED_KEYS = ("", ".", "..", "a/b", "../a", "-a", "a\n", "a" * 129, "a b", "a:b")


class StorageSnapshots:
    """Tests of the kit; `StorageConformance` provides the fixtures."""

    def test_snapshot_is_listed_mountable_and_removable(
        self, driver: StorageHooks, layer: LayerApply
    ) -> None:
        driver.storage_apply(layer)
        driver.storage_prepare(SnapshotPrepare("c1", (layer.diff_id,)))
        assert driver.storage_list().snapshots == ("c1",)
        assert driver.storage_mounts("c1")
        assert driver.storage_usage("c1").inodes == 0
        driver.storage_remove("c1")
        driver.storage_remove("c1")
        assert driver.storage_list().snapshots == ()
        assert driver.storage_list().layers == (layer.diff_id,)

    def test_snapshot_exists_already(self, driver: StorageHooks, layer: LayerApply) -> None:
        driver.storage_apply(layer)
        driver.storage_prepare(SnapshotPrepare("c1", (layer.diff_id,)))
        mounts = driver.storage_mounts("c1")
        with pytest.raises(AlreadyExists):
            driver.storage_prepare(SnapshotPrepare("c1", ()))
        assert driver.storage_mounts("c1") == mounts

    def test_key_is_free_again_after_removal(self, driver: StorageHooks) -> None:
        for _round in range(3):
            driver.storage_prepare(SnapshotPrepare("c1", ()))
            driver.storage_remove("c1")
        assert driver.storage_list().snapshots == ()

    def test_snapshot_over_a_missing_layer(self, driver: Any) -> None:
        before = census(driver.root)
        with pytest.raises(NotFound):
            driver.storage_prepare(SnapshotPrepare("c1", (MISSING,)))
        assert_nothing_left(driver, before)

    def test_unknown_snapshot(self, driver: StorageHooks) -> None:
        with pytest.raises(NotFound):
            driver.storage_mounts("nobody")
        with pytest.raises(NotFound):
            driver.storage_usage("nobody")
        driver.storage_remove("nobody")

    @pytest.mark.parametrize("key", _MALFORMED_KEYS)
    def test_malformed_key_is_refused(self, driver: Any, key: str) -> None:
        before = census(driver.root)
        with pytest.raises(InvalidArgument):
            driver.storage_prepare(SnapshotPrepare(key, ()))
        with pytest.raises(InvalidArgument):
            driver.storage_remove(key)
        assert census(driver.root) == before

    def test_one_of_many_prepares_of_a_key_succeeds(self, driver: StorageHooks) -> None:
        def attempt(_number: int) -> bool:
            try:
                driver.storage_prepare(SnapshotPrepare("c1", ()))
            except AlreadyExists:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(attempt, range(32))) == 1

    def test_listing_disturbs_no_call_in_flight(self, driver: StorageHooks, tmp_path: Path) -> None:
        stop = threading.Event()

        def keep_listing() -> None:
            while not stop.is_set():
                driver.storage_list()

        thread = threading.Thread(target=keep_listing)
        thread.start()
        try:
            for number in range(20):
                request = LayerTar().file(f"file{number}", b"x" * 1000).store(tmp_path)
                driver.storage_apply(request)
                driver.storage_prepare(SnapshotPrepare(f"c{number}", (request.diff_id,)))
        finally:
            stop.set()
            thread.join()
        assert len(driver.storage_list().snapshots) == len(driver.storage_list().layers) == 20
