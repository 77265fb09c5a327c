"""The conformance kit of kind `volume`: subclass, give one fixture, and your driver is proven.

    class TestMyVolumes(VolumeConformance):
        @pytest.fixture
        def driver(self, tmp_path):
            return MyVolumes("mine", MyVolumes.Config(), str(tmp_path / "volumes"))

Root is needed. The class of the driver and of its config must be importable by name: the kill tests run the driver in a process of its
own; a driver whose instances do not tell `name`, `config` and `root` also overrides the fixture `rebuild`. What the driver keeps below
`root` under names that begin with a dot is its own; the census looks at the rest. `mounted_options` are options with which a volume is
something that the driver mounts, and empties when it is unmounted; drivers that mount nothing skip those tests.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.volume import VolumeCapability, VolumeHooks, VolumeSpec
from barque.testing.canary import Canary
from barque.testing.kit import Conformance
from barque.testing.storage_lab import Rebuild, wait_until
from barque.testing.volume_crashes import VolumeCrashes
from barque.testing.volume_lab import fill, hostile, mounts_below, visible

__all__ = ["VolumeConformance"]

_NAMES = ("a", "A.b-c_d", "a.b", "trash", "tmp", "n" * 64, "0" * 64)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class VolumeConformance(VolumeCrashes, Conformance):
    """What every volume driver must do. See the contract, `barque.spi.volume`."""

    @pytest.fixture
    def driver(self) -> VolumeHooks:
        """The driver under test, on an empty root."""
        raise NotImplementedError("a subclass of VolumeConformance provides the fixture `driver`")

    @pytest.fixture
    def rebuild(self, driver: Any) -> Rebuild:
        """How another process, or the next daemon, makes the driver on the same root."""
        return type(driver), (driver.name, driver.config, driver.root)

    @pytest.fixture
    def mounted_options(self, driver: Any) -> Mapping[str, str]:
        """See above: the driver's attribute `conformance_mounted_options`, if it has one."""
        options: Mapping[str, str] = getattr(driver, "conformance_mounted_options", {})
        if not options:
            pytest.skip("no options are given with which the driver mounts something")
        return options

    @pytest.fixture
    def volume(self, driver: Any) -> Iterator[VolumeSpec]:
        """A volume; afterwards it is removed, and nothing of it is left: no path, no mount, no descriptor."""
        before, descriptors = visible(driver.root), _descriptors()
        spec = VolumeSpec("one", labels={"a": "b"})
        driver.volume_create(spec)
        yield spec
        driver.volume_remove(spec)
        wait_until(lambda: visible(driver.root) == before, "something was left on the disk")
        assert mounts_below(driver.root) == []
        wait_until(lambda: _descriptors() <= descriptors, "descriptors were leaked")

    def test_probe_finds_this_host_usable(self, driver: Any) -> None:
        probe = driver.volume_probe()
        assert probe.usable, probe.problems

    # Making and removing

    def test_a_new_volume_is_an_empty_directory(self, driver: Any, volume: VolumeSpec) -> None:
        path = driver.volume_mount(volume, "one")
        assert os.path.isabs(path)
        assert os.listdir(path) == []
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o555 == 0o555  # programs of any user may look in
        assert driver.volume_path(volume) in ("", path)
        driver.volume_unmount(volume, "one")

    def test_create_twice_keeps_the_data(self, driver: Any, volume: VolumeSpec) -> None:
        Path(driver.volume_mount(volume, "one"), "f").write_text("data")
        driver.volume_create(volume)
        assert Path(driver.volume_mount(volume, "one"), "f").read_text() == "data"
        driver.volume_unmount(volume, "one")

    def test_unknown_options_are_refused_and_nothing_is_left(self, driver: Any) -> None:
        before = visible(driver.root)
        with pytest.raises(InvalidArgument, match="no-such-option"):
            driver.volume_create(VolumeSpec("bad", {"no-such-option": "x"}))
        assert visible(driver.root) == before
        with pytest.raises(NotFound):
            driver.volume_mount(VolumeSpec("bad"), "one")

    def test_remove_twice_and_unknown(self, driver: Any, volume: VolumeSpec) -> None:
        for _ in range(2):
            driver.volume_remove(volume)
        driver.volume_remove(VolumeSpec("never-there"))

    def test_made_anew_it_is_empty(self, driver: Any, volume: VolumeSpec) -> None:
        fill(driver.volume_mount(volume, "one"))
        driver.volume_unmount(volume, "one")
        driver.volume_remove(volume)
        driver.volume_create(volume)
        assert os.listdir(driver.volume_mount(volume, "one")) == []
        driver.volume_unmount(volume, "one")

    def test_names_do_not_meet(self, driver: Any) -> None:
        specs = [VolumeSpec(name) for name in _NAMES]
        for spec in specs:
            driver.volume_create(spec)
            Path(driver.volume_mount(spec, "one"), "name").write_text(spec.name)
        for spec in specs:
            path = Path(driver.volume_mount(spec, "one"))
            assert [(f.name, f.read_text()) for f in path.iterdir()] == [("name", spec.name)]
            driver.volume_unmount(spec, "one")
            driver.volume_remove(spec)
        wait_until(lambda: visible(driver.root) == [], "something was left on the disk")

    @pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a\0b"])
    def test_a_name_that_is_no_name_makes_nothing(self, driver: Any, name: str) -> None:
        """The engine checks names, too; a path is made of them here."""
        before = visible(str(Path(driver.root).parent))
        with pytest.raises(InvalidArgument):
            driver.volume_create(VolumeSpec(name))
        with pytest.raises(InvalidArgument):
            driver.volume_remove(VolumeSpec(name))
        assert visible(str(Path(driver.root).parent)) == before

    # Users

    def test_data_stays_between_users(self, driver: Any, volume: VolumeSpec) -> None:
        Path(driver.volume_mount(volume, "one"), "f").write_text("data")
        driver.volume_unmount(volume, "one")
        assert Path(driver.volume_mount(volume, "two"), "f").read_text() == "data"
        driver.volume_unmount(volume, "two")

    def test_all_users_see_the_same(self, driver: Any, volume: VolumeSpec) -> None:
        one, two = (driver.volume_mount(volume, user) for user in ("one", "two"))
        Path(one, "f").write_text("data")
        driver.volume_unmount(volume, "one")
        assert Path(two, "f").read_text() == "data"
        driver.volume_unmount(volume, "two")

    def test_mount_and_unmount_twice(self, driver: Any, volume: VolumeSpec) -> None:
        assert driver.volume_mount(volume, "one") == driver.volume_mount(volume, "one")
        for _ in range(2):
            driver.volume_unmount(volume, "one")
        driver.volume_unmount(volume, "never-there")
        driver.volume_unmount(VolumeSpec("never-there"), "one")

    def test_a_volume_that_is_not_there_cannot_be_mounted(self, driver: Any) -> None:
        with pytest.raises(NotFound):
            driver.volume_mount(VolumeSpec("never-there"), "one")

    def test_what_is_mounted_stays_until_the_last_user_leaves(
        self, driver: Any, mounted_options: Mapping[str, str]
    ) -> None:
        spec = VolumeSpec("mounted", mounted_options)
        driver.volume_create(spec)
        assert mounts_below(driver.root) == []  # nothing is mounted before somebody needs it
        path = driver.volume_mount(spec, "one")
        for user in ("one", "two"):
            assert driver.volume_mount(spec, user) == path
        assert mounts_below(driver.root) == [path]
        Path(path, "f").write_text("data")
        driver.volume_unmount(spec, "one")
        driver.volume_unmount(spec, "one")
        assert Path(path, "f").read_text() == "data"
        driver.volume_unmount(spec, "two")
        assert mounts_below(driver.root) == []
        driver.volume_remove(spec)

    def test_removal_unmounts_what_a_crash_left(
        self, driver: Any, mounted_options: Mapping[str, str]
    ) -> None:
        spec = VolumeSpec("mounted", mounted_options)
        driver.volume_create(spec)
        driver.volume_mount(spec, "one")
        driver.volume_remove(spec)
        assert mounts_below(driver.root) == []
        assert visible(driver.root) == []

    # Hostile contents

    def test_hostile_contents_are_removed_and_nothing_else(
        self, driver: Any, volume: VolumeSpec, tmp_path: Path
    ) -> None:
        canary = Canary.plant(tmp_path / "canary")
        hostile(driver.volume_mount(volume, "one"), canary.root)
        driver.volume_unmount(volume, "one")
        driver.volume_remove(volume)
        wait_until(lambda: visible(driver.root) == [], "something was left on the disk")
        canary.check()

    def test_usage_counts_blocks_once_and_follows_nothing(
        self, driver: Any, volume: VolumeSpec, tmp_path: Path
    ) -> None:
        if VolumeCapability.USAGE not in driver.capabilities:
            pytest.skip("the driver does not declare usage")
        assert driver.volume_usage(volume) == 0
        path = driver.volume_mount(volume, "one")
        hostile(path, tmp_path)
        used = driver.volume_usage(volume)
        assert 50_000 <= used < 150_000  # the hard link counts once, the hole of a terabyte not at all
        Path(path, "more").write_bytes(os.urandom(1_000_000))
        assert 1_000_000 <= driver.volume_usage(volume) - used < 1_200_000
        driver.volume_unmount(volume, "one")

    # Several at once

    def test_many_volumes_at_once(self, driver: Any) -> None:
        def live(number: int) -> None:
            spec = VolumeSpec(f"v{number}")
            driver.volume_create(spec)
            for user in ("one", "two"):
                Path(driver.volume_mount(spec, user), user).write_text(str(number))
            assert sorted(os.listdir(driver.volume_mount(spec, "one"))) == ["one", "two"]
            for user in ("one", "two"):
                driver.volume_unmount(spec, user)
            driver.volume_remove(spec)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(live, range(48)))
        wait_until(lambda: visible(driver.root) == [], "something was left on the disk")

    def test_restore_of_nothing_twice(self, driver: Any, volume: VolumeSpec) -> None:
        for _ in range(2):
            driver.volume_restore({})
        driver.volume_restore({volume.name: ("one",)})
        driver.volume_restore({"never-there": ("one",)})
