"""The part of the runtime kit about the life of a container: create, start, state, kill, delete, and crashes in them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from barque.spi.errors import AlreadyExists, Conflict, NotFound
from barque.testing import procfs
from barque.testing.runtime_lab import FOREVER, RuntimeLab, eventually

__all__ = ["RuntimeLifecycle"]


class RuntimeLifecycle:
    """Tests of the kit; `RuntimeConformance` provides the fixtures."""

    def test_output_and_exit_code(self, lab: RuntimeLab) -> None:
        task = lab.run("a", "sh", "-c", "echo out; echo err >&2; exit 42")
        assert lab.wait(task) == 42
        assert lab.output(task) == "out\n"
        assert task.stderr.read_text() == "err\n"

    def test_signal_that_ends_init_is_told(self, lab: RuntimeLab) -> None:
        task = lab.run("a", *FOREVER)
        lab.kill("a")
        assert lab.wait(task) == -signal.SIGKILL

    def test_stdin_is_passed(self, lab: RuntimeLab, tmp_path: Path) -> None:
        (tmp_path / "in").write_text("from stdin\n")
        task = lab.run("a", "cat", stdin=str(tmp_path / "in"))
        assert lab.wait(task) == 0
        assert lab.output(task) == "from stdin\n"

    def test_init_is_pid_1_in_its_own_namespaces(self, lab: RuntimeLab) -> None:
        task = lab.run(
            "a",
            "sh",
            "-c",
            "echo $$ $(hostname); for n in pid mnt uts ipc net; do readlink /proc/self/ns/$n; done",
        )
        assert lab.wait(task) == 0
        first, *namespaces = lab.output(task).splitlines()
        assert first == "1 kit"
        own = {os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "mnt", "uts", "ipc", "net")}
        assert len(namespaces) == 5
        assert not own & set(namespaces)

    def test_init_waits_for_start(self, lab: RuntimeLab) -> None:
        task = lab.create("a", "echo", "started")
        state = lab.state("a")
        assert (state.id, state.status, state.pid) == ("a", "created", task.pid)
        assert lab.output(task) == ""
        lab.start("a")
        assert lab.wait(task) == 0
        assert lab.output(task) == "started\n"

    def test_state_follows_the_life(self, lab: RuntimeLab) -> None:
        task = lab.run("a", *FOREVER)
        assert (lab.state("a").status, lab.state("a").pid) == ("running", task.pid)
        lab.kill("a")
        lab.wait(task)
        assert (lab.state("a").status, lab.state("a").pid) == ("stopped", 0)
        lab.delete("a")
        with pytest.raises(NotFound):
            lab.state("a")

    def test_zombie_init_is_stopped(self, lab: RuntimeLab) -> None:
        task = lab.run("a", "true")
        assert eventually(lambda: procfs.describe(task.pid).endswith("zombie"))
        assert lab.state("a").status == "stopped"
        assert lab.wait(task) == 0

    def test_second_create_of_an_id_changes_nothing(self, lab: RuntimeLab) -> None:
        task = lab.run("a", *FOREVER)
        with pytest.raises(AlreadyExists):
            lab.create("a", "true")
        assert (lab.state("a").status, lab.state("a").pid) == ("running", task.pid)

    def test_id_is_free_after_delete(self, lab: RuntimeLab) -> None:
        for word in ("first", "second"):
            task = lab.run("a", "echo", word)
            assert lab.wait(task) == 0
            assert lab.output(task) == f"{word}\n"
            lab.delete("a")
            assert lab.cgroups("a") == []

    def test_start_twice_is_a_conflict(self, lab: RuntimeLab) -> None:
        lab.run("a", *FOREVER)
        with pytest.raises(Conflict):
            lab.start("a")

    @pytest.mark.row("R9")
    def test_start_after_init_was_killed_is_an_error(self, lab: RuntimeLab) -> None:
        task = lab.create("a", *FOREVER)
        lab.kill("a")
        assert lab.wait(task) == -signal.SIGKILL
        with pytest.raises((Conflict, NotFound)):
            lab.start("a")

    def test_hooks_on_an_unknown_id(self, lab: RuntimeLab) -> None:
        for call in (lab.start, lab.state, lab.kill):
            with pytest.raises(NotFound):
                call("nobody")
        with pytest.raises(NotFound):
            lab.exec("nobody", "true")
        lab.delete("nobody")
        lab.delete("nobody", force=True)

    def test_kill_sends_that_signal(self, lab: RuntimeLab) -> None:
        task = lab.run(
            "a", "sh", "-c", "trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.01; done"
        )
        assert eventually(lambda: lab.output(task) == "ready\n")
        lab.kill("a", signal.SIGUSR1)
        assert lab.wait(task) == 5
        assert lab.output(task) == "ready\ncaught\n"

    def test_kill_of_a_stopped_container(self, lab: RuntimeLab) -> None:
        lab.wait(lab.run("a", "true"))
        with pytest.raises(NotFound):
            lab.kill("a")
        lab.kill("a", all=True)

    def test_kill_all_reaches_every_process(self, lab: RuntimeLab) -> None:
        task = lab.run("a", "sh", "-c", "sleep 1000 & sleep 1000 & wait")
        assert eventually(lambda: len(lab.members("a")) == 3)
        lab.kill("a", all=True)
        assert lab.wait(task) == -signal.SIGKILL
        assert eventually(lambda: not lab.members("a"))

    @pytest.mark.row("R15")
    def test_kill_all_without_init_and_pid_namespace(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", ["sh", "-c", "sleep 1000 & exit 0"], without=["pid"])
        assert lab.wait(lab.run("a", spec=spec)) == 0
        assert eventually(lambda: len(lab.members("a")) == 1)
        lab.kill("a", all=True)
        assert eventually(lambda: not lab.members("a"))
        lab.delete("a")

    @pytest.mark.row("R15")
    def test_delete_with_force_kills_what_outlived_init(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", ["sh", "-c", "sleep 1000 & exit 0"], without=["pid"])
        assert lab.wait(lab.run("a", spec=spec)) == 0
        (left,) = lab.members("a")
        lab.delete("a", force=True)
        assert lab.cgroups("a") == []
        assert eventually(lambda: procfs.has_ended(left))

    def test_delete_of_a_running_container_is_a_conflict(self, lab: RuntimeLab) -> None:
        task = lab.run("a", *FOREVER)
        with pytest.raises(Conflict):
            lab.delete("a")
        assert (lab.state("a").status, lab.state("a").pid) == ("running", task.pid)

    @pytest.mark.parametrize("started", [True, False])
    def test_delete_with_force(self, lab: RuntimeLab, started: bool) -> None:
        task = lab.create("a", *FOREVER)
        if started:
            lab.start("a")
        lab.delete("a", force=True)
        assert lab.wait(task) == -signal.SIGKILL
        assert lab.cgroups("a") == []

    def test_delete_twice(self, lab: RuntimeLab) -> None:
        lab.wait(lab.run("a", "true"))
        for force in (False, False, True):
            lab.delete("a", force=force)
        assert lab.cgroups("a") == []

    @pytest.mark.row("R4")
    def test_container_outlives_its_shim_and_can_be_deleted(self, lab: RuntimeLab) -> None:
        task = lab.run("a", *FOREVER)
        lab.new_shim()
        assert (lab.state("a").status, lab.state("a").pid) == ("running", task.pid)
        lab.delete("a", force=True)
        assert lab.cgroups("a") == []
        assert eventually(lambda: procfs.has_ended(task.pid))

    @pytest.mark.row("R3")
    @pytest.mark.parametrize("kill_below", [False, True])
    @pytest.mark.parametrize("milliseconds", [0, 1, 2, 4, 8, 16, 32])
    def test_kill_of_the_shim_in_create(self, lab: RuntimeLab, milliseconds: int, kill_below: bool) -> None:
        lab.begin_create("a", *FOREVER)
        lab.shim.wait_milliseconds(milliseconds)
        lab.new_shim(kill_below=kill_below)
        lab.delete("a", force=True)
        assert lab.cgroups("a") == []
        with pytest.raises(NotFound):
            lab.state("a")
        assert lab.wait(lab.run("a", "true")) == 0

    def test_containers_of_two_shims_do_not_meet(self, lab: RuntimeLab) -> None:
        with lab.another() as other:
            lab.begin_create("a", "echo", "one")
            other.begin_create("b", "echo", "two")
            tasks = [(lab, "a", lab.end_create()), (other, "b", other.end_create())]
            for bench, id, _ in tasks:
                bench.start(id)
            assert [bench.wait(task) for bench, _, task in tasks] == [0, 0]
            assert [bench.output(task) for bench, _, task in tasks] == ["one\n", "two\n"]
