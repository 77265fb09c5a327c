"""The shim with the native runtime: a real container, without an engine."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from native_bundle import docker_config, make_rootfs

sys.path.append(str(Path(__file__).parents[1] / "unit" / "shim"))

from shim_harness import FAKES, Machine, eventually, frames, read_all, read_until

from barque.shim.interpreter import interpreter_path
from barque.shim.protocol import ClientAttach
from barque.spi.errors import NotFound

pytestmark = pytest.mark.root

NATIVE = "barque_runtime_native.plugin"


@pytest.fixture
def machine(tmp_path):
    pytest.importorskip(NATIVE)
    from barque.shim.launching import DriverRef

    native = DriverRef("runtime", "native", NATIVE, "NativeRuntime")
    make_rootfs(tmp_path / "image")
    machine = Machine(tmp_path, [native, *FAKES])
    yield machine
    machine.close()
    for parent in Path("/sys/fs/cgroup").glob("*/barque-test-shim"):
        eventually(lambda parent=parent: is_removed(parent))


def is_removed(cgroup: Path) -> bool:
    """Remove a cgroup; a container that was killed a moment ago may still be in it."""
    for directory in (*(path for path in cgroup.iterdir() if path.is_dir()), cgroup):
        with contextlib.suppress(OSError):
            directory.rmdir()
    return not cgroup.exists()


def run(machine: Machine, *args: str, id: str = "n", change=lambda spec: None, **fields):
    """Launch a container from the image directory, below Docker's default confinement."""
    spec = docker_config(machine.directory / "image", *args, cgroup=f"/barque-test-shim/{id}")
    spec["process"]["terminal"] = fields.get("terminal", False)
    change(spec)
    return machine.launch(id=id, spec=spec, runtime="native", **fields)


def test_exit_code_and_log(machine):
    container = run(machine, "sh", "-c", "echo from $$; exit 11").started()
    assert container.until("exit")["code"] == 11
    assert container.log() == b"stdout from 1\nclosed\n"
    container.release()
    assert not list(Path("/sys/fs/cgroup").glob("*/barque-test-shim/n"))


def test_a_missing_program_is_127_and_leaves_nothing(machine):
    failed = run(machine, "/no/such").event()
    assert failed["error"]["exit_code"] == 127
    assert not list(Path("/sys/fs/cgroup").glob("*/barque-test-shim/n"))


def test_exec_terminal_and_kill(machine):
    container = run(machine, "sleep", "100").started()
    process = docker_config(machine.directory / "image", "x")["process"]
    with_output = {**process, "args": ["sh", "-c", "echo $0; ls /proc/1 >/dev/null && exit 4", "exec"]}
    client = container.exec(*with_output.pop("args"), attach=ClientAttach(False, True, True), **with_output)
    assert frames(read_all(client)) == {1: b"exec\n"}
    assert container.until("exec-exit")["code"] == 4
    shell = {**process, "terminal": True, "consoleSize": {"height": 21, "width": 81}}
    shell.pop("args")
    terminal = container.exec("sh", id="t", attach=ClientAttach(True, True, True), **shell)
    terminal.sendall(b"stty size; tty; exit 6\n")
    output = read_all(terminal)
    assert b"21 81" in output
    assert container.until("exec-exit") == {"event": "exec-exit", "exec": "t", "code": 6}
    with pytest.raises(NotFound) as caught:
        container.exec("/no/such", id="m", **{key: value for key, value in process.items() if key != "args"})
    assert caught.value.exit_code == 127
    with container.client() as shim:
        shim.kill(signal.SIGKILL, all=False)
    assert container.until("exit")["code"] == 137


def test_execs_are_reaped_before_init_and_told_before_the_exit(machine):
    container = run(machine, "sleep", "100").started()
    process = docker_config(machine.directory / "image", "x")["process"]
    process.pop("args")
    container.exec("sleep", "100", **process)
    os.kill(container.pid, signal.SIGKILL)
    events = [container.event() for _ in range(2)]
    assert [(event["event"], event["code"]) for event in events] == [("exec-exit", 137), ("exit", 137)]


def test_a_network_namespace_is_handed_over_as_a_descriptor(machine):
    name = f"bqshim{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        inode = os.stat(f"/run/netns/{name}").st_ino
        fd = os.open(f"/run/netns/{name}", os.O_RDONLY)

        def change(spec):
            spec["linux"]["namespaces"] = [
                {"type": "network", "path": "@netns@"} if ns["type"] == "network" else ns
                for ns in spec["linux"]["namespaces"]
            ]

        container = run(machine, "sleep", "100", netns=fd, change=change).started()
        os.close(fd)
        assert os.readlink(f"/proc/{container.pid}/ns/net") == f"net:[{inode}]"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.row("S1")
def test_a_container_cannot_write_its_interpreter(machine):
    """The process that enters is ours until its execve; `#!/proc/self/exe` executes it again, inside."""
    before = hashlib.sha256(Path(interpreter_path()).read_bytes()).hexdigest()
    image = machine.directory / "image"
    (image / "bin/evil").write_text("#!/proc/self/exe\n")
    (image / "bin/evil").chmod(0o755)
    for number, args in enumerate((["/bin/evil"], ["/proc/self/exe", "-c", "1"])):
        container = run(machine, *args, id=f"evil{number}")
        if container.event()["event"] == "started":
            container.until("exit")
    container = run(machine, "sh", "-c", "while :; do for p in /proc/[0-9]*; do "
                    "(echo x >> $p/exe) 2>/dev/null && echo WROTE; done; done", id="racer").started()  # fmt: skip
    process = docker_config(image, "x")["process"]
    process.pop("args")
    for number in range(20):
        container.exec("true", id=f"e{number}", **process)
    with container.client() as shim:
        shim.kill(signal.SIGKILL, all=True)
    container.until("exit")
    log = container.directory / "log/log"
    # its own busybox it may write, when nobody runs it
    assert not log.exists() or b"WROTE" not in log.read_bytes()
    assert hashlib.sha256(Path(interpreter_path()).read_bytes()).hexdigest() == before


@pytest.mark.row("R12")
def test_an_oom_kill_is_told_before_the_exit(machine):
    def limit(spec):
        spec["linux"].setdefault("resources", {})["memory"] = {"limit": 16 << 20, "swap": 16 << 20}

    container = run(machine, "sh", "-c", "x=a; while :; do x=$x$x; done", change=limit).started()
    assert container.event() == {"event": "oom"}
    ended = container.event()
    assert (ended["event"], ended["code"], ended["oom"]) == ("exit", 137, True)


def test_with_a_terminal(machine):
    container = run(machine, "sh", terminal=True, open_stdin=True, console_size=(30, 100)).started()
    client = container.attach(stdin=True)
    client.sendall(b"stty size; exit 3\n")
    assert b"30 100" in read_until(client, b"30 100")
    assert container.until("exit")["code"] == 3
    client.close()


def kibibytes(pid: int) -> int:
    """What a process costs: its share of memory, its page tables, its kernel stack."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    status = Path(f"/proc/{pid}/status").read_text()
    share = int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])
    return share + int(re.search(r"^VmPTE:\s+(\d+)", status, re.M)[1]) + 16


def test_what_a_resting_shim_costs(machine):
    containers = [run(machine, "sleep", "100", id=f"n{number}").started() for number in range(20)]
    children = Path(f"/proc/{machine.launcher.pid}/task/{machine.launcher.pid}/children")

    def shims() -> list[int]:
        return [
            int(pid)
            for pid in children.read_text().split()
            if b"barque-shim n" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    eventually(lambda: len(shims()) == len(containers))
    median = statistics.median(kibibytes(pid) for pid in shims())
    print(f"\na resting shim, of {len(containers)}: {median:.0f} KiB")
    assert median < 1536
    for container in containers:
        os.kill(container.pid, signal.SIGKILL)
    for container in containers:
        container.until("exit")
        container.release()
