"""The conformance kit of kind `runtime`: subclass, give one fixture, and your driver is proven.

    class TestMyRuntime(RuntimeConformance):
        @pytest.fixture
        def driver(self):
            return MyRuntime("mine", MyRuntime.Config())

Root is needed, and nothing else: the containers' programs are made here (`barque.testing.static_init`). What a driver
does not declare among its capabilities is not asked of it. Each test has a shim of its own (`barque.testing.shim`)
that the hooks run in, and is followed by a census: a mount, cgroup or process that is left fails it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from barque.spi.errors import InvalidArgument, NotFound
from barque.testing import need
from barque.testing.census import Scope, no_leaks
from barque.testing.kit import Conformance
from barque.testing.runtime_checkpoints import RuntimeCheckpoints
from barque.testing.runtime_confinement import RuntimeConfinement
from barque.testing.runtime_control import RuntimeControl
from barque.testing.runtime_crashes import RuntimeCrashes
from barque.testing.runtime_lab import FOREVER, RuntimeLab
from barque.testing.runtime_lifecycle import RuntimeLifecycle
from barque.testing.runtime_programs import RuntimePrograms
from barque.testing.runtime_rootfs import static_rootfs
from barque.testing.runtime_settings import RuntimeSettings

__all__ = ["RuntimeConformance"]


class RuntimeConformance(
    RuntimeLifecycle,
    RuntimePrograms,
    RuntimeConfinement,
    RuntimeSettings,
    RuntimeControl,
    RuntimeCheckpoints,
    RuntimeCrashes,
    Conformance,
):
    """What every runtime driver must do. See the contract, `barque.spi.runtime`."""

    @pytest.fixture
    def driver(self) -> Any:
        """The driver under test."""
        raise NotImplementedError("a subclass of RuntimeConformance provides the fixture `driver`")

    @pytest.fixture(scope="class")
    @classmethod
    def rootfs(cls) -> Iterator[Path]:
        """A root file system with a few programs."""
        need.root()
        with static_rootfs() as root:
            yield root

    @pytest.fixture
    def lab(
        self, request: pytest.FixtureRequest, driver: Any, tmp_path: Path, rootfs: Path
    ) -> Iterator[RuntimeLab]:
        """The bench; see `RuntimeLab`."""
        needed = {capability for marker in request.node.iter_markers("needs") for capability in marker.args}
        if missing := sorted(needed - driver.capabilities):
            pytest.skip(f"the driver does not declare {', '.join(missing)}")
        name = f"barque-kit-{os.getpid()}"
        with no_leaks(Scope(mounts_below=[tmp_path, rootfs], cgroups=[name])):
            lab = RuntimeLab(driver, tmp_path, rootfs, name)
            try:
                yield lab
            finally:
                lab.close()

    def test_probe_finds_this_host_usable(self, driver: Any) -> None:
        probe = driver.runtime_probe()
        assert probe.usable, probe.problems

    @pytest.mark.parametrize("id", ["", ".", "..", "../x", "a/b", "a\n", "/a"])
    def test_id_that_is_a_path_is_refused(self, lab: RuntimeLab, id: str) -> None:
        with pytest.raises(InvalidArgument):
            lab.create(id, "true", spec=lab.spec("a", ["true"]))

    def test_forged_id_reaches_nothing(self, lab: RuntimeLab) -> None:
        """An id out of a file that somebody else could write: each hook refuses it, or knows no such container."""
        lab.run("a", FOREVER)
        victim = Path(lab.root).parent / "victim"
        victim.mkdir()
        (victim / "file").touch()
        for id in ("../victim", "../../victim", "a/../../victim", str(victim)):
            for hook in (lab.start, lab.state, lab.kill):
                with pytest.raises((InvalidArgument, NotFound)):
                    hook(id)
            with suppress(InvalidArgument):
                lab.delete(id, force=True)
        assert os.listdir(victim) == ["file"]
        assert lab.state("a").status == "running"
