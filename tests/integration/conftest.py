"""What most tests of the native runtime start from."""

import pytest
from native_bundle import Box, make_rootfs


@pytest.fixture
def rootfs(tmp_path):
    """A root file system of a static busybox."""
    return make_rootfs(tmp_path / "rootfs")


@pytest.fixture
def box(tmp_path, rootfs):
    """A bundle to run; see `Box`."""
    box = Box(tmp_path, rootfs)
    yield box
    box.close()
