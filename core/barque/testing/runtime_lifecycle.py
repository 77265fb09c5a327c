"""The part of the runtime kit about the life of a container: create, start, state, kill, delete."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from barque.spi.errors import AlreadyExists, Conflict, NotFound
from barque.testing import procfs
from barque.testing.runtime_lab import FOREVER, RuntimeLab, eventually
from barque.testing.static_init import (
    BUFFER,
    call,
    exit_with,
    exit_with_result,
    spawn,
    wait_for_signal,
    write,
)

__all__ = ["RuntimeLifecycle"]

_NAMESPACES = ("pid", "mnt", "uts", "ipc", "net")
_UTSNAME_FIELD = 65


class RuntimeLifecycle:
    """Tests of the kit; `RuntimeConformance` provides the fixtures."""

    def test_output_and_exit_code(self, lab: RuntimeLab) -> None:
        task = lab.run_steps("a", write(1, b"out\n"), write(2, b"err\n"), exit_with(42))
        assert lab.wait(task) == 42
        assert lab.output(task) == "out\n"
        assert task.stderr.read_text() == "err\n"

    def test_signal_that_ends_init_is_told(self, lab: RuntimeLab) -> None:
        task = lab.run("a", FOREVER)
        lab.kill("a")
        assert lab.wait(task) == -signal.SIGKILL

    def test_stdin_is_passed(self, lab: RuntimeLab, tmp_path: Path) -> None:
        text = "from stdin\n" * 20_000
        (tmp_path / "in").write_text(text)
        task = lab.run("a", "cat", stdin=str(tmp_path / "in"))
        assert lab.wait(task) == 0
        assert lab.output(task) == text

    def test_arguments_and_environment_are_passed(self, lab: RuntimeLab) -> None:
        args = [FOREVER, "", "two words", "é\n"]
        task = lab.run("a", spec=lab.spec("a", args, env=["PATH=/bin", "WORD=there", "EMPTY="]))
        init = lab.observe(task)
        assert init.arguments() == args
        assert {"PATH=/bin", "WORD=there", "EMPTY="} <= init.environment()
        assert {name.partition("=")[0] for name in init.environment()} <= {"PATH", "WORD", "EMPTY", "HOME"}

    def test_init_is_pid_1_in_its_own_namespaces(self, lab: RuntimeLab) -> None:
        init = lab.observe(lab.run("a", FOREVER))
        assert init.status()["NSpid"].split()[-1] == "1"
        for name in _NAMESPACES:
            assert init.namespace(name) != os.readlink(f"/proc/self/ns/{name}"), name

    def test_hostname_is_that_of_the_spec(self, lab: RuntimeLab) -> None:
        task = lab.run_steps("a", call("uname", BUFFER), call("write", 1, BUFFER, 6 * _UTSNAME_FIELD))
        assert lab.wait(task) == 0
        node = lab.output(task)[_UTSNAME_FIELD:].partition("\0")[0]
        assert node == "kit"
        assert os.uname().nodename != "kit"

    def test_init_waits_for_start(self, lab: RuntimeLab) -> None:
        task = lab.create("a", lab.program(write(1, b"started\n")))
        state = lab.state("a")
        assert (state.id, state.status, state.pid) == ("a", "created", task.pid)
        assert lab.output(task) == ""
        lab.start("a")
        assert lab.wait(task) == 0
        assert lab.output(task) == "started\n"

    def test_state_follows_the_life(self, lab: RuntimeLab) -> None:
        task = lab.run("a", FOREVER)
        state = lab.state("a")
        assert (state.status, state.pid) == ("running", task.pid)
        assert os.path.isdir(state.bundle)
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
        task = lab.run("a", FOREVER)
        with pytest.raises(AlreadyExists):
            lab.create("a", "true")
        assert (lab.state("a").status, lab.state("a").pid) == ("running", task.pid)

    def test_id_is_free_after_delete(self, lab: RuntimeLab) -> None:
        for word in (b"first", b"second"):
            task = lab.run_steps("a", write(1, word))
            assert lab.wait(task) == 0
            assert lab.output(task) == word.decode()
            lab.delete("a")
            assert lab.cgroups("a") == []

    def test_start_twice_is_a_conflict(self, lab: RuntimeLab) -> None:
        lab.run("a", FOREVER)
        with pytest.raises(Conflict):
            lab.start("a")

    @pytest.mark.row("R9")
    def test_start_after_init_was_killed_is_an_error(self, lab: RuntimeLab) -> None:
        task = lab.create("a", FOREVER)
        lab.kill("a")
        assert lab.wait(task) == -signal.SIGKILL
        with pytest.raises((Conflict, NotFound)):
            lab.start("a")

    def test_hooks_on_an_unknown_id(self, lab: RuntimeLab) -> None:
        for hook in (lab.start, lab.state, lab.kill):
            with pytest.raises(NotFound):
                hook("nobody")
        with pytest.raises(NotFound):
            lab.exec("nobody", "true")
        lab.delete("nobody")
        lab.delete("nobody", force=True)

    def test_kill_sends_that_signal(self, lab: RuntimeLab) -> None:
        task = lab.run_steps("a", wait_for_signal(b"ready\n"), exit_with_result())
        assert eventually(lambda: lab.output(task) == "ready\n")
        lab.kill("a", signal.SIGUSR1)
        assert lab.wait(task) == signal.SIGUSR1

    def test_kill_of_a_stopped_container(self, lab: RuntimeLab) -> None:
        lab.wait(lab.run("a", "true"))
        with pytest.raises(NotFound):
            lab.kill("a")
        lab.kill("a", all=True)

    def test_kill_all_reaches_every_process(self, lab: RuntimeLab) -> None:
        task = lab.run_steps("a", spawn(), spawn(), wait_for_signal(b""))
        assert eventually(lambda: len(lab.members("a")) == 3)
        lab.kill("a", all=True)
        assert lab.wait(task) == -signal.SIGKILL
        assert eventually(lambda: not lab.members("a"))

    @pytest.mark.row("R15")
    def test_kill_all_without_init_and_pid_namespace(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", [lab.program(spawn())], without=["pid"])
        assert lab.wait(lab.run("a", spec=spec)) == 0
        assert eventually(lambda: len(lab.members("a")) == 1)
        lab.kill("a", all=True)
        assert eventually(lambda: not lab.members("a"))
        lab.delete("a")

    @pytest.mark.row("R15")
    def test_delete_with_force_kills_what_outlived_init(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", [lab.program(spawn())], without=["pid"])
        assert lab.wait(lab.run("a", spec=spec)) == 0
        (left,) = lab.members("a")
        lab.delete("a", force=True)
        assert lab.cgroups("a") == []
        assert eventually(lambda: procfs.has_ended(left))

    def test_delete_of_a_running_container_is_a_conflict(self, lab: RuntimeLab) -> None:
        task = lab.run("a", FOREVER)
        with pytest.raises(Conflict):
            lab.delete("a")
        assert (lab.state("a").status, lab.state("a").pid) == ("running", task.pid)

    @pytest.mark.parametrize("started", [True, False])
    def test_delete_with_force(self, lab: RuntimeLab, started: bool) -> None:
        task = lab.create("a", FOREVER)
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
