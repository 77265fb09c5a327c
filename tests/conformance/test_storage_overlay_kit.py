"""The overlay driver passes the conformance kit of kind `storage`."""

from __future__ import annotations

import pytest

from barque.testing.storage import StorageConformance
from barque_storage_overlay.plugin import OverlayStorage

pytestmark = pytest.mark.root


class TestOverlayStorage(StorageConformance):
    @pytest.fixture
    def driver(self, tmp_path):
        return OverlayStorage(
            "overlay", OverlayStorage.Config(worker_idle_seconds=1.0), str(tmp_path / "storage")
        )


def test_a_test_of_the_kit_cannot_be_replaced():
    with pytest.raises(TypeError, match="test_removed_layer_is_gone"):
        type("Cheat", (StorageConformance,), {"test_removed_layer_is_gone": None})
