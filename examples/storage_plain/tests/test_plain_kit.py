"""The driver passes Barque's conformance kit. Needs root: `sudo python -m pytest`."""

import pytest
from barque_storage_plain.plugin import PlainStorage

from barque.testing.storage import StorageConformance


class TestPlainStorage(StorageConformance):
    @pytest.fixture
    def driver(self, tmp_path):
        return PlainStorage("plain", PlainStorage.Config(), str(tmp_path / "storage"))
