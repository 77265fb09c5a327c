"""The part of the runtime kit about programs: those that cannot be executed, exec, and terminals."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from barque.spi.errors import BarqueError, Conflict, NotFound, PermissionDenied
from barque.spi.runtime import RuntimeCapability
from barque.testing.runtime_lab import FOREVER, RuntimeLab

__all__ = ["RuntimePrograms"]


class RuntimePrograms:
    """Tests of the kit; `RuntimeConformance` provides the fixtures."""

    @pytest.mark.parametrize("program", ["nothing-of-that-name", "/bin/nothing"])
    def test_program_that_does_not_exist_is_127(self, lab: RuntimeLab, program: str) -> None:
        with pytest.raises(NotFound) as raised:
            lab.run("a", program)
        assert raised.value.exit_code == 127
        cause = "no such file or directory" if "/" in program else "executable file not found in $PATH"
        assert f'exec: "{program}": ' in raised.value.message
        assert raised.value.message.endswith(cause)

    @pytest.mark.parametrize("program", ["/bin/plain", "/bin"])
    def test_program_that_cannot_be_executed_is_126(self, lab: RuntimeLab, program: str) -> None:
        with pytest.raises(PermissionDenied) as raised:
            lab.run("a", program)
        assert raised.value.exit_code == 126
        causes = ("permission denied", "is a directory")  # newer runc tells the second of a directory
        assert raised.value.message.endswith(tuple(f'exec: "{program}": {cause}' for cause in causes))

    def test_failed_create_leaves_nothing(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", ["true"])
        spec["mounts"].append(
            {"destination": "/mnt", "type": "bind", "source": "/nothing/there", "options": ["bind"]}
        )
        with pytest.raises(BarqueError):
            lab.create("a", spec=spec)
        assert lab.cgroups("a") == []
        with pytest.raises(NotFound):
            lab.state("a")
        assert lab.wait(lab.run("a", "true")) == 0

    @pytest.mark.needs(RuntimeCapability.EXEC)
    def test_exec_has_its_own_process_settings(self, lab: RuntimeLab) -> None:
        lab.run("a", *FOREVER)
        script = "echo $(id -u):$(id -g) $(pwd) $WORD; echo err >&2; exit 7"
        task = lab.exec(
            "a", "sh", "-c", script, cwd="/tmp", user={"uid": 7, "gid": 8}, env=["PATH=/bin", "WORD=there"]
        )
        assert lab.wait(task) == 7
        assert lab.output(task) == "7:8 /tmp there\n"
        assert task.stderr.read_text() == "err\n"

    @pytest.mark.needs(RuntimeCapability.EXEC)
    def test_exec_is_in_the_namespaces_and_cgroup_of_init(self, lab: RuntimeLab) -> None:
        init = lab.run("a", *FOREVER)
        task = lab.exec("a", *FOREVER)
        for name in ("pid", "mnt", "uts", "ipc", "net"):
            assert os.readlink(f"/proc/{task.pid}/ns/{name}") == os.readlink(f"/proc/{init.pid}/ns/{name}")
        assert Path(f"/proc/{task.pid}/cgroup").read_text() == Path(f"/proc/{init.pid}/cgroup").read_text()

    @pytest.mark.needs(RuntimeCapability.EXEC)
    @pytest.mark.parametrize(
        ("program", "error", "code"),
        [
            ("nothing-of-that-name", NotFound, 127),
            ("/bin/nothing", NotFound, 127),
            ("/bin/plain", PermissionDenied, 126),
        ],
    )
    def test_exec_that_cannot_be_executed(
        self, lab: RuntimeLab, program: str, error: type[BarqueError], code: int
    ) -> None:
        lab.run("a", *FOREVER)
        with pytest.raises(error) as raised:
            lab.exec("a", program)
        assert raised.value.exit_code == code
        assert f'exec: "{program}": ' in raised.value.message
        assert lab.state("a").status == "running"

    @pytest.mark.needs(RuntimeCapability.EXEC)
    def test_exec_in_a_stopped_container_is_a_conflict(self, lab: RuntimeLab) -> None:
        lab.wait(lab.run("a", "true"))
        with pytest.raises(Conflict):
            lab.exec("a", "true")

    @pytest.mark.needs(RuntimeCapability.TERMINAL)
    def test_terminal(self, lab: RuntimeLab) -> None:
        spec = lab.spec("a", ["sh", "-c", "tty; stty size; read word; echo got $word"], terminal=True)
        spec["process"]["consoleSize"] = {"height": 11, "width": 22}
        task = lab.run("a", spec=spec)
        shown = lab.console(task, b"typed\n").replace("\r\n", "\n")
        assert lab.wait(task) == 0
        assert "/dev/pts/0\n" in shown
        assert "11 22\n" in shown
        assert shown.endswith("got typed\n")

    @pytest.mark.needs(RuntimeCapability.TERMINAL)
    def test_console_device_is_the_terminal(self, lab: RuntimeLab) -> None:
        task = lab.run("a", spec=lab.spec("a", ["sh", "-c", "echo via console >/dev/console"], terminal=True))
        assert lab.console(task) == "via console\r\n"
        assert lab.wait(task) == 0

    @pytest.mark.needs(RuntimeCapability.TERMINAL, RuntimeCapability.EXEC)
    def test_exec_with_a_terminal(self, lab: RuntimeLab) -> None:
        lab.run("a", *FOREVER)
        task = lab.exec("a", "sh", "-c", "tty; exit 3", terminal=True)
        assert lab.console(task) == "/dev/pts/0\r\n"
        assert lab.wait(task) == 3
