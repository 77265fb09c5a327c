"""The part of the runtime kit about crashes and crowds: the shim is killed in a call, many calls go on at once."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from barque.spi.errors import AlreadyExists, NotFound
from barque.spi.runtime import RuntimeCapability
from barque.testing import procfs
from barque.testing.runtime_lab import FOREVER, RuntimeLab, eventually
from barque.testing.static_init import exit_with, write

__all__ = ["RuntimeCrashes"]

_MOMENTS = (0, 1, 2, 4, 8, 16, 32)


class RuntimeCrashes:
    """Tests of the kit; `RuntimeConformance` provides the fixtures."""

    @pytest.mark.row("R4")
    def test_container_outlives_its_shim_and_can_be_deleted(self, lab: RuntimeLab) -> None:
        task = lab.run("a", FOREVER)
        lab.new_shim()
        assert (lab.state("a").status, lab.state("a").pid) == ("running", task.pid)
        lab.delete("a", force=True)
        assert lab.cgroups("a") == []
        assert eventually(lambda: procfs.has_ended(task.pid))

    @pytest.mark.row("R3")
    @pytest.mark.parametrize("kill_below", [False, True])
    @pytest.mark.parametrize("milliseconds", _MOMENTS)
    def test_kill_of_the_shim_in_create(self, lab: RuntimeLab, milliseconds: int, kill_below: bool) -> None:
        lab.begin_create("a", FOREVER)
        lab.shim.wait_milliseconds(milliseconds)
        lab.new_shim(kill_below=kill_below)
        lab.delete("a", force=True)
        assert lab.cgroups("a") == []
        with pytest.raises(NotFound):
            lab.state("a")
        assert lab.wait(lab.run("a", "true")) == 0

    @pytest.mark.row("R3")
    @pytest.mark.needs(RuntimeCapability.EXEC)
    @pytest.mark.parametrize("milliseconds", _MOMENTS)
    def test_kill_of_the_shim_in_exec(self, lab: RuntimeLab, milliseconds: int) -> None:
        init = lab.run("a", FOREVER)
        lab.begin_exec("a", FOREVER)
        lab.shim.wait_milliseconds(milliseconds)
        lab.new_shim()
        assert (lab.state("a").status, lab.state("a").pid) == ("running", init.pid)
        assert lab.wait(lab.exec("a", lab.program(exit_with(9)))) == 9
        lab.delete("a", force=True)
        assert lab.cgroups("a") == []

    def test_containers_of_several_shims_do_not_meet(self, lab: RuntimeLab) -> None:
        words = ("one", "two", "three", "four")
        with ExitStack() as stack:
            benches = {word: stack.enter_context(lab.another(word)) for word in words}
            for word, bench in benches.items():
                bench.begin_create(word, lab.program(write(1, word.encode()), exit_with(len(word))))
            tasks = {word: bench.end() for word, bench in benches.items()}
            for word, bench in benches.items():
                bench.start(word)
            for word, bench in benches.items():
                assert bench.wait(tasks[word]) == len(word)
                assert bench.output(tasks[word]) == word

    def test_one_of_several_creates_of_an_id_succeeds(self, lab: RuntimeLab) -> None:
        with ExitStack() as stack:
            benches = [stack.enter_context(lab.another(str(number))) for number in range(3)]
            for bench in benches:
                bench.begin_create("a", FOREVER)
            made = [bench for bench in benches if _succeeds(bench)]
            assert len(made) == 1
            made[0].start("a")
            assert made[0].state("a").status == "running"


def _succeeds(bench: RuntimeLab) -> bool:
    try:
        bench.end()
    except AlreadyExists:
        return False
    return True
