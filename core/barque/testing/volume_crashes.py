"""The volume kit: after a SIGKILL of the daemon every volume is there or not, and what was mounted can be taken over or undone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from barque.spi.volume import VolumeSpec
from barque.testing.storage_lab import Rebuild, kill_in_call, wait_until
from barque.testing.volume_lab import churn_volumes, fill, mount_all, mounts_below, remove_volume, visible

__all__ = ["VolumeCrashes"]

_KILLS = (0.0, 0.004, 0.02)


class VolumeCrashes:
    """Part of `VolumeConformance`."""

    @pytest.mark.parametrize("after", _KILLS)
    def test_killed_calls_leave_whole_volumes_or_none(
        self, driver: Any, rebuild: Rebuild, after: float
    ) -> None:
        before = visible(driver.root)
        kill_in_call(rebuild, churn_volumes, (), after)
        create, arguments = rebuild
        fresh = create(*arguments)
        fresh.volume_restore({})
        for number in range(200):
            spec = VolumeSpec(f"v{number}")
            fresh.volume_create(spec)  # the engine does what it does not know to be done once more
            path = Path(fresh.volume_mount(spec, "one"))
            assert list(path.iterdir()) == []
            fresh.volume_unmount(spec, "one")
            fresh.volume_remove(spec)
            if not visible(driver.root):
                break
        wait_until(lambda: visible(driver.root) == before, "something was left on the disk")

    @pytest.mark.parametrize("after", _KILLS)
    def test_killed_removal_is_ended_by_the_next(self, driver: Any, rebuild: Rebuild, after: float) -> None:
        before = visible(driver.root)
        spec = VolumeSpec("doomed")
        driver.volume_create(spec)
        fill(driver.volume_mount(spec, "one"))
        driver.volume_unmount(spec, "one")
        kill_in_call(rebuild, remove_volume, (spec,), after)
        create, arguments = rebuild
        fresh = create(*arguments)
        fresh.volume_restore({})
        fresh.volume_remove(spec)
        wait_until(lambda: visible(driver.root) == before, "something was left on the disk")
        fresh.volume_create(spec)
        assert list(Path(fresh.volume_mount(spec, "one")).iterdir()) == []
        fresh.volume_unmount(spec, "one")
        fresh.volume_remove(spec)

    def test_mounts_of_a_killed_daemon_are_taken_over_or_undone(
        self, driver: Any, rebuild: Rebuild, mounted_options: Mapping[str, str]
    ) -> None:
        specs = tuple(VolumeSpec(name, mounted_options) for name in ("kept", "lost"))
        for spec in specs:
            driver.volume_create(spec)
        kill_in_call(rebuild, mount_all, (specs,), 0.2)
        create, arguments = rebuild
        fresh = create(*arguments)
        for _ in range(2):
            fresh.volume_restore({"kept": ("user-of-kept",)})
        kept, lost = (fresh.volume_path(spec) for spec in specs)
        assert kept in mounts_below(driver.root)
        assert lost not in mounts_below(driver.root)
        Path(kept, "mark").write_text("here")
        assert fresh.volume_mount(specs[0], "another") == kept
        fresh.volume_unmount(specs[0], "another")
        assert Path(kept, "mark").read_text() == "here"  # the first user still has it
        fresh.volume_unmount(specs[0], "user-of-kept")
        assert mounts_below(driver.root) == []
        for spec in specs:
            fresh.volume_remove(spec)

    def test_data_outlives_the_daemon(self, driver: Any, rebuild: Rebuild) -> None:
        spec = VolumeSpec("kept")
        driver.volume_create(spec)
        Path(driver.volume_mount(spec, "one"), "f").write_text("data")
        create, arguments = rebuild
        fresh = create(*arguments)
        fresh.volume_restore({"kept": ("one",)})
        assert Path(fresh.volume_mount(spec, "two"), "f").read_text() == "data"
        for user in ("one", "two"):
            fresh.volume_unmount(spec, user)
        fresh.volume_remove(spec)
