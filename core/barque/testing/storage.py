"""The conformance kit of kind `storage`: subclass, give one fixture, and your driver is proven.

    class TestMyStorage(StorageConformance):
        @pytest.fixture
        def driver(self, tmp_path):
            return MyStorage("mine", MyStorage.Config(), str(tmp_path / "storage"))

The class of the driver and of its config must be importable by name: the kill tests run the driver in a process of its
own. A driver whose instances do not tell `name`, `config` and `root` also overrides the fixture `rebuild`.
`media` names the compressions it reads. The census looks at every path below `driver.root`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from barque.spi.storage import LayerApply, StorageHooks
from barque.testing.kit import Conformance
from barque.testing.layers import LayerTar
from barque.testing.storage_crashes import StorageCrashes
from barque.testing.storage_differences import StorageDifferences
from barque.testing.storage_lab import Rebuild
from barque.testing.storage_layers import StorageLayers
from barque.testing.storage_limits import StorageLimits
from barque.testing.storage_mounted import StorageMounted
from barque.testing.storage_refusals import StorageRefusals
from barque.testing.storage_snapshots import StorageSnapshots
from barque.testing.storage_verifying import StorageVerifying

__all__ = ["StorageConformance"]


class StorageConformance(
    StorageLayers,
    StorageRefusals,
    StorageSnapshots,
    StorageCrashes,
    StorageMounted,
    StorageLimits,
    StorageDifferences,
    StorageVerifying,
    Conformance,
):
    """What every storage driver must do. See the contract, `barque.spi.storage`."""

    @pytest.fixture
    def driver(self) -> StorageHooks:
        """The driver under test, on an empty root."""
        raise NotImplementedError("a subclass of StorageConformance provides the fixture `driver`")

    @pytest.fixture
    def media(self) -> tuple[str, ...]:
        """Compressions the driver reads: names in `barque.testing.layers.MEDIA_TYPES`."""
        return ("gzip", "zstd", "plain")

    @pytest.fixture
    def rebuild(self, driver: Any) -> Rebuild:
        """How another process, or the next daemon, makes the driver on the same root."""
        return type(driver), (driver.name, driver.config, driver.root)

    @pytest.fixture
    def layer(self, tmp_path: Path) -> LayerApply:
        """A small ordinary layer."""
        return LayerTar().directory("etc").file("etc/motd", b"hello\n" * 1000).store(tmp_path)
