"""The local driver passes the conformance kit of kind `volume`."""

from __future__ import annotations

import pytest

from barque.testing.volume import VolumeConformance
from barque_volume_local.plugin import LocalVolumes

pytestmark = pytest.mark.root


class TestLocalVolumes(VolumeConformance):
    @pytest.fixture
    def driver(self, tmp_path):
        root = tmp_path / "volumes"
        root.mkdir(mode=0o700)
        return LocalVolumes("local", LocalVolumes.Config(), str(root))
