"""The part of the storage kit about layers that must not become any: an error of the right class, and nothing left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from barque.spi.errors import BarqueError, InvalidArgument
from barque.spi.storage import LayerApply, SnapshotPrepare, StorageHooks
from barque.testing.layers import LayerTar
from barque.testing.storage_lab import (
    MISSING,
    assert_nothing_left,
    census,
)

__all__ = ["StorageRefusals"]

_MALFORMED_IDS = (
    "", "sha256:", "sha256:" + "A" * 64, "sha256:" + "0" * 63, "sha512:" + "0" * 128, "../" * 20,
    "sha256:" + "0" * 63 + "/", "sha256:" + "0" * 64 + "\n",
)  # fmt: skip


class StorageRefusals:
    """Tests of the kit; `StorageConformance` provides the fixtures."""

    def test_wrong_diff_id_leaves_nothing(self, driver: Any, tmp_path: Path) -> None:
        before = census(driver.root)
        request = LayerTar().file("a", b"data").store(tmp_path, diff_id=MISSING)
        with pytest.raises(InvalidArgument, match=request.diff_id):
            driver.storage_apply(request)
        assert_nothing_left(driver, before)

    def test_truncated_blob_leaves_nothing(self, driver: Any, media: tuple[str, ...], tmp_path: Path) -> None:
        before = census(driver.root)
        for compression in media:
            request = LayerTar().file("a", os.urandom(100_000)).store(tmp_path, compression)
            os.truncate(request.blob, os.path.getsize(request.blob) // 2)
            with pytest.raises(InvalidArgument):
                driver.storage_apply(request)
        assert_nothing_left(driver, before)

    def test_escaping_entry_is_refused_by_name(self, driver: Any, tmp_path: Path) -> None:
        before = census(driver.root)
        request = LayerTar().file("fine").file("../../escaped", b"x").store(tmp_path)
        with pytest.raises(InvalidArgument, match="escaped"):
            driver.storage_apply(request)
        assert_nothing_left(driver, before)

    def test_garbage_is_refused(self, driver: Any, tmp_path: Path) -> None:
        before = census(driver.root)
        with pytest.raises(InvalidArgument):
            driver.storage_apply(LayerTar().raw(b"garbage " * 200).store(tmp_path, "plain"))
        assert_nothing_left(driver, before)

    def test_missing_blob_is_an_error_of_the_contract(self, driver: StorageHooks, layer: LayerApply) -> None:
        os.unlink(layer.blob)
        with pytest.raises(BarqueError):
            driver.storage_apply(layer)
        assert driver.storage_list().layers == ()

    @pytest.mark.parametrize("diff_id", _MALFORMED_IDS)
    def test_malformed_diff_id_is_refused(self, driver: Any, layer: LayerApply, diff_id: str) -> None:
        before = census(driver.root)
        with pytest.raises(InvalidArgument):
            driver.storage_apply(LayerApply(diff_id, layer.blob, layer.media_type))
        with pytest.raises(InvalidArgument):
            driver.storage_prepare(SnapshotPrepare("c1", (diff_id,)))
        with pytest.raises(InvalidArgument):
            driver.storage_remove_layer(diff_id)
        assert census(driver.root) == before
