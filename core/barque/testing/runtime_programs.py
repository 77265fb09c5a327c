"""The part of the runtime kit about programs: those that cannot be executed, exec, and terminals."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from barque.spi.errors import BarqueError, Conflict, NotFound, PermissionDenied
from barque.spi.runtime import RuntimeCapability
from barque.testing.runtime_lab import FOREVER, RuntimeLab
from barque.testing.static_init import AT_FDCWD, BUFFER, RESULT, call, exit_with, write

__all__ = ["RuntimePrograms"]

_O_WRONLY = 1
_NAMESPACES = ("pid", "mnt", "uts", "ipc", "net")


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
    def test_exec_output_and_exit_code(self, lab: RuntimeLab) -> None:
        lab.run("a", FOREVER)
        task = lab.exec("a", lab.program(write(1, b"out\n"), write(2, b"err\n"), exit_with(7)))
        assert lab.wait(task) == 7
        assert lab.output(task) == "out\n"
        assert task.stderr.read_text() == "err\n"
        assert lab.state("a").status == "running"

    @pytest.mark.needs(RuntimeCapability.EXEC)
    def test_exec_has_its_own_process_settings(self, lab: RuntimeLab) -> None:
        lab.run("a", FOREVER)
        user = {"uid": 7, "gid": 8, "additionalGids": [9, 10]}
        rlimits = [{"type": "RLIMIT_CORE", "soft": 4096, "hard": 8192}]
        task = lab.exec(
            "a", FOREVER, "x", cwd="/tmp", user=user, env=["PATH=/bin", "WORD=there"], rlimits=rlimits
        )
        process = lab.observe(task)
        status = process.status()
        assert (status["Uid"].split(), status["Gid"].split()) == (["7"] * 4, ["8"] * 4)
        assert {"9", "10"} <= set(status["Groups"].split())
        assert process.arguments() == [FOREVER, "x"]
        assert "WORD=there" in process.environment()
        assert os.path.samefile(f"/proc/{task.pid}/cwd", process.path("/tmp"))
        assert process.limits()["Max core file size"] == ("4096", "8192")

    @pytest.mark.needs(RuntimeCapability.EXEC)
    def test_exec_has_its_own_umask(self, lab: RuntimeLab) -> None:
        lab.run("a", FOREVER)
        task = lab.exec("a", FOREVER, user={"uid": 0, "gid": 0, "umask": 0o027})
        assert lab.observe(task).status()["Umask"] == "0027"

    @pytest.mark.needs(RuntimeCapability.EXEC)
    def test_exec_is_in_the_namespaces_and_cgroup_of_init(self, lab: RuntimeLab) -> None:
        init, process = lab.observe(lab.run("a", FOREVER)), lab.observe(lab.exec("a", FOREVER))
        for name in _NAMESPACES:
            assert process.namespace(name) == init.namespace(name)
        assert process.read("cgroup") == init.read("cgroup")
        assert os.path.samefile(process.path("/"), init.path("/"))

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
        lab.run("a", FOREVER)
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
        program = lab.program(call("read", 0, BUFFER, 80), call("write", 1, BUFFER, RESULT))
        spec = lab.spec("a", [program], terminal=True)
        spec["process"]["consoleSize"] = {"height": 11, "width": 22}
        task = lab.run("a", spec=spec)
        init = lab.observe(task)
        assert set(init.descriptors().values()) == {"/dev/pts/0"}
        assert init.status()["NSsid"].split()[-1] == "1"
        assert int(init.read("stat").rpartition(")")[2].split()[4]) != 0  # it has a controlling terminal
        assert lab.window_size(task) == (11, 22)
        shown = "".join(lab.console(task, b"typed\n").split())
        assert lab.wait(task) == 0
        assert sorted(shown) == sorted(
            "typed" * 2
        )  # the terminal's echo and the program's copy, perhaps mixed

    @pytest.mark.needs(RuntimeCapability.TERMINAL)
    def test_console_device_is_the_terminal(self, lab: RuntimeLab) -> None:
        text = b"via console"
        program = lab.program(
            call("openat", AT_FDCWD, b"/dev/console\0", _O_WRONLY), call("write", RESULT, text, len(text))
        )
        task = lab.run("a", spec=lab.spec("a", [program], terminal=True))
        assert lab.console(task) == text.decode()
        assert lab.wait(task) == 0

    @pytest.mark.needs(RuntimeCapability.TERMINAL, RuntimeCapability.EXEC)
    def test_exec_with_a_terminal(self, lab: RuntimeLab) -> None:
        lab.run("a", FOREVER)
        program = lab.program(call("read", 0, BUFFER, 80), exit_with(3))
        task = lab.exec("a", program, terminal=True)
        assert set(lab.observe(task).descriptors().values()) == {"/dev/pts/0"}
        assert lab.console(task, b"\n") == "\r\n"
        assert lab.wait(task) == 3

    @pytest.mark.needs(RuntimeCapability.EXEC)
    def test_exec_has_the_files_of_init(self, lab: RuntimeLab) -> None:
        """What init has mounted for itself, its exec sees: the mount namespace is shared and not copied."""
        lab.run("a", FOREVER)
        made = lab.program(call("mkdirat", AT_FDCWD, b"/dev/shm/made\0", 0o755))
        assert lab.wait(lab.exec("a", made)) == 0
        process = lab.observe(lab.exec("a", FOREVER))
        assert Path(process.path("/dev/shm/made")).is_dir()
