"""The part of the storage kit about layers: applied, listed, measured, removed, by one and by many at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from barque.spi.common import Probe
from barque.spi.errors import NotFound
from barque.spi.storage import LayerApply, SnapshotPrepare, StorageHooks, StorageList
from barque.testing.layers import LayerTar
from barque.testing.storage_lab import (
    MISSING,
)

__all__ = ["StorageLayers"]


class StorageLayers:
    """Tests of the kit; `StorageConformance` provides the fixtures."""

    def test_probe_answers_and_finds_this_host_usable(self, driver: StorageHooks) -> None:
        answer = driver.storage_probe()
        assert isinstance(answer, Probe)
        assert answer.usable, answer.problems
        assert driver.storage_list() == StorageList((), ())

    def test_layer_is_listed_and_measured(self, driver: StorageHooks, layer: LayerApply) -> None:
        usage = driver.storage_apply(layer)
        assert usage.inodes == 2
        assert usage.bytes >= 6000
        assert driver.storage_list().layers == (layer.diff_id,)
        assert driver.storage_usage(layer.diff_id) == usage

    def test_layer_in_every_compression(
        self, driver: StorageHooks, media: tuple[str, ...], tmp_path: Path
    ) -> None:
        requests = [LayerTar().file(name, b"data").store(tmp_path, name) for name in media]
        for request in requests:
            assert driver.storage_apply(request).inodes == 1
        assert set(driver.storage_list().layers) == {request.diff_id for request in requests}

    def test_applying_twice_keeps_the_layer(self, driver: StorageHooks, layer: LayerApply) -> None:
        first = driver.storage_apply(layer)
        os.unlink(layer.blob)
        assert driver.storage_apply(layer) == first

    def test_layer_without_entries(self, driver: StorageHooks, tmp_path: Path) -> None:
        request = LayerTar().store(tmp_path)
        assert driver.storage_apply(request).inodes == 0
        driver.storage_prepare(SnapshotPrepare("c1", (request.diff_id,)))
        assert driver.storage_mounts("c1")

    def test_same_layer_applied_by_many_at_once(self, driver: StorageHooks, layer: LayerApply) -> None:
        with ThreadPoolExecutor(8) as pool:
            usages = set(pool.map(lambda _number: driver.storage_apply(layer), range(8)))
        assert len(usages) == 1
        assert driver.storage_list().layers == (layer.diff_id,)

    def test_many_layers_at_once(self, driver: StorageHooks, tmp_path: Path) -> None:
        requests = [LayerTar().file(f"file{number}", b"x" * 5000).store(tmp_path) for number in range(12)]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(driver.storage_apply, requests))
        assert set(driver.storage_list().layers) == {request.diff_id for request in requests}

    def test_applying_and_removing_one_layer_at_once(self, driver: StorageHooks, layer: LayerApply) -> None:
        def churn(number: int) -> None:
            if number % 2:
                driver.storage_remove_layer(layer.diff_id)
            else:
                driver.storage_apply(layer)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(churn, range(24)))
        driver.storage_apply(layer)
        assert driver.storage_list().layers == (layer.diff_id,)

    def test_removed_layer_is_gone(self, driver: StorageHooks, layer: LayerApply) -> None:
        driver.storage_apply(layer)
        driver.storage_remove_layer(layer.diff_id)
        assert driver.storage_list().layers == ()
        with pytest.raises(NotFound):
            driver.storage_usage(layer.diff_id)
        driver.storage_remove_layer(layer.diff_id)
        driver.storage_remove_layer(MISSING)
