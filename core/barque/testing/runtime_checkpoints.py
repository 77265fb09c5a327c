"""The part of the runtime kit about checkpoint and restore, on hosts that can."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from barque.spi.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound
from barque.spi.runtime import RuntimeCapability
from barque.testing.runtime_lab import FOREVER, RuntimeLab, Task, eventually
from barque.testing.static_init import AT_FDCWD, RESULT, Step, call, loop, sleep

__all__ = ["RuntimeCheckpoints"]

_O_WRONLY, _O_CREAT = 0o1, 0o100
_TICKS = "/dev/shm/ticks"
_BYTE = b"."

checkpointing = pytest.mark.needs(RuntimeCapability.CHECKPOINT)


class RuntimeCheckpoints:
    """Tests of the kit; `RuntimeConformance` provides the fixtures."""

    @checkpointing
    def test_checkpoint_and_restore(self, lab: RuntimeLab, tmp_path: Path) -> None:
        spec = _counting(lab)
        task = lab.run("a", spec=spec, quiet=True)
        counted = _count(lab, task, more_than=10)
        image = _checkpoint(lab, tmp_path)
        lab.wait(task)
        assert (lab.state("a").status, lab.state("a").pid) == ("stopped", 0)
        lab.delete("a")
        before = sorted(os.listdir(image))
        again = lab.restore("a", image, spec)
        assert (lab.state("a").status, lab.state("a").pid) == ("running", again.pid)
        assert lab.observe(again).status()["NSpid"].split()[-1] == "1"
        assert _count(lab, again, more_than=counted) > counted
        assert sorted(os.listdir(image)) == before
        lab.kill("a")
        assert lab.wait(again) == -signal.SIGKILL

    @checkpointing
    def test_checkpoint_that_leaves_the_container_running(self, lab: RuntimeLab, tmp_path: Path) -> None:
        task = lab.run("a", spec=_counting(lab), quiet=True)
        counted = _count(lab, task, more_than=10)
        image = _checkpoint(lab, tmp_path, leave_running=True)
        assert os.listdir(image)
        assert (lab.state("a").status, lab.state("a").pid) == ("running", task.pid)
        assert _count(lab, task, more_than=counted) > counted

    @checkpointing
    def test_checkpoint_of_what_does_not_run(self, lab: RuntimeLab, tmp_path: Path) -> None:
        image = tmp_path / "image"
        image.mkdir(mode=0o700)
        with pytest.raises(NotFound):
            lab.checkpoint("nobody", image)
        assert lab.wait(lab.run("a", "true")) == 0
        with pytest.raises(Conflict):
            lab.checkpoint("a", image)
        assert os.listdir(image) == []

    @checkpointing
    def test_restore_from_garbage_leaves_nothing(self, lab: RuntimeLab, tmp_path: Path) -> None:
        image = tmp_path / "image"
        image.mkdir(mode=0o700)
        (image / "inventory.img").write_bytes(b"garbage")
        with pytest.raises((InvalidArgument, FailedPrecondition)):
            lab.restore("a", image, lab.spec("a", [FOREVER]))
        with pytest.raises(NotFound):
            lab.state("a")
        assert lab.cgroups("a") == []


def _checkpoint(lab: RuntimeLab, directory: Path, **options: bool) -> Path:
    """Checkpoint `a`; without what it needs the test is skipped, and the container must run on."""
    image = directory / "image"
    image.mkdir(mode=0o700)
    try:
        lab.checkpoint("a", image, **options)
    except FailedPrecondition as error:
        assert lab.state("a").status == "running"
        assert os.listdir(image) == []
        pytest.skip(f"the driver says: {error}")
    return image


def _counting(lab: RuntimeLab) -> dict[str, Any]:
    """A container that writes a byte now and then to a file in its own tmpfs, which a checkpoint contains."""
    opened = call("openat", AT_FDCWD, _TICKS.encode() + b"\0", _O_WRONLY | _O_CREAT, 0o644)
    tick: tuple[Step, ...] = (call("write", 9, _BYTE, 1), sleep(0.005))
    return lab.spec("a", [lab.program(opened, call("dup3", RESULT, 9, 0), loop(*tick))])


def _count(lab: RuntimeLab, task: Task, *, more_than: int) -> int:
    """How many bytes there are, once they are more."""
    ticks = lab.observe(task).path(_TICKS)
    assert eventually(lambda: os.path.exists(ticks) and os.stat(ticks).st_size > more_than)
    return os.stat(ticks).st_size
