"""Launching, ending, and what a shim tells about it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import time
from pathlib import Path

import pytest
from shim_harness import FAKES, HERE, Machine, alive, client_pair, eventually

from barque.shim.client import ShimClient, read_event, read_exit_file
from barque.shim.launching import DriverRef, Launcher
from barque.shim.protocol import ClientAttach
from barque.spi.errors import Conflict, FailedPrecondition, NotFound


def test_exit_code_events_and_exit_file(machine):
    before = time.time_ns()
    container = machine.launch("sh", "-c", "echo out; echo err >&2; exit 7")
    started = container.event()
    assert started["event"] == "started"
    assert started["starttime"] > 0
    ended = container.event()
    assert ended["event"] == "exit"
    assert ended["code"] == 7
    assert before < ended["time_ns"] < time.time_ns()
    assert ended["oom"] is False
    assert read_exit_file(container.state) == {k: ended[k] for k in ("code", "time_ns", "oom")}
    assert container.log() == b"stdout out\nstderr err\nclosed\n"


def test_a_signal_is_128_and_its_number(machine):
    container = machine.launch("sh", "-c", "kill -TERM $$").started()
    assert container.until("exit")["code"] == 128 + signal.SIGTERM


def test_release_ends_the_shim_and_leaves_only_the_exit_file(machine):
    container = machine.launch("true").started()
    container.until("exit")
    container.release()
    assert os.listdir(container.state) == ["exit.json"]
    assert os.listdir(container.directory / "root") == []
    with pytest.raises(NotFound):
        container.client()


def test_after_the_release_the_same_container_can_be_launched_again(machine):
    for code in (1, 2, 3):
        container = machine.launch("sh", "-c", f"exit {code}", id="same").started()
        assert container.until("exit")["code"] == code
        with container.client() as shim:
            shim.release()
    assert read_exit_file(container.state)["code"] == 3


def test_a_stale_exit_file_is_gone_when_the_next_run_has_started(machine):
    first = machine.launch("true", id="same").started()
    first.until("exit")
    first.release()
    second = machine.launch("sleep", "100", id="same").started()
    assert read_exit_file(second.state) is None


def test_release_is_refused_while_the_container_runs(machine):
    container = machine.launch("sleep", "100").started()
    with container.client() as shim, pytest.raises(Conflict):
        shim.release()


def test_a_program_that_does_not_exist_leaves_nothing(machine):
    container = machine.launch("/no/such/program")
    failed = container.event()
    assert failed["event"] == "failed"
    assert failed["error"]["class"] == "NotFound"
    assert failed["error"]["exit_code"] == 127
    assert container.event() is None
    assert os.listdir(container.state) == []
    assert os.listdir(container.directory / "root") == []


@pytest.mark.parametrize(
    ("runtime", "message", "kind"),
    [
        ("fails-create", "create fails as told", "Conflict"),
        ("fails-create!", "RuntimeError: create breaks as told", "Internal"),
        ("fails-start", "start fails as told", "Conflict"),
    ],
)
def test_a_failing_driver_is_reported_and_undone(machine, runtime, message, kind):
    container = machine.launch("sleep", "100", runtime=runtime)
    failed = container.event()
    assert failed["error"]["message"] == message
    assert failed["error"]["class"] == kind
    assert container.event() is None
    assert "shim.sock" not in os.listdir(container.state)
    assert os.listdir(container.directory / "root") == []


def test_a_defect_of_a_driver_is_written_down(machine):
    container = machine.launch("true", runtime="fails-create!")
    assert container.event()["event"] == "failed"
    assert container.event() is None
    assert 'raise RuntimeError(f"{hook} breaks as told")' in Path(container.state, "shim.log").read_text()


def test_clients_of_a_failed_start_get_not_a_byte_and_stay_open_for_the_daemon(machine):
    ours, theirs = client_pair()
    keep = theirs.dup()
    container = machine.launch("/no/such", clients=[(ClientAttach(False, True, True), theirs)])
    assert container.event()["event"] == "failed"
    assert container.event() is None
    keep.sendall(b"the daemon's answer")
    assert ours.recv(100) == b"the daemon's answer"
    ours.close()
    keep.close()


def test_unknown_drivers_are_named(machine):
    assert "runtime driver named 'nope'" in machine.launch("true", runtime="nope").event()["error"]["message"]


def test_a_driver_that_cannot_be_imported_is_named():
    broken = DriverRef("runtime", "broken", "no_such_module", "X")
    with pytest.raises(FailedPrecondition, match=r"'broken' \(no_such_module:X\).*ModuleNotFoundError"):
        Launcher.spawn([broken], [HERE])


def test_a_wrong_configuration_names_the_driver():
    broken = DriverRef("runtime", "odd", "fake_shim_drivers", "FakeRuntime", {"colour": "red"})
    with pytest.raises(FailedPrecondition, match=r"'odd'.*colour"):
        Launcher.spawn([broken], [HERE, *__import__("sys").path])


@pytest.mark.row("R1")
def test_the_end_of_launcher_and_daemon_does_not_touch_the_container(tmp_path):
    machine = Machine(tmp_path)
    script = "i=0; while sleep 0.02; do i=$((i+1)); echo $i; done"
    container = machine.launch("sh", "-c", script).started()
    container.control.close()
    os.kill(machine.launcher.pid, signal.SIGKILL)
    eventually(
        lambda: container.log().count(b"\n") > 10 if (container.directory / "log/log").exists() else False
    )
    with ShimClient.connect(container.state) as shim:
        hello = shim.hello()
        assert hello["pid"] == container.pid
        assert hello["status"] == "running"
        events = shim.events()
    lines = [int(word) for word in container.log().replace(b"stdout", b"").split()]
    assert lines == list(range(1, len(lines) + 1))
    os.kill(container.pid, signal.SIGKILL)
    assert read_event(events)["code"] == 137
    events.close()
    machine.close()


@pytest.mark.row("R2")
def test_an_exit_while_no_daemon_runs_is_kept_and_the_shim_ends_by_itself(machine):
    container = machine.launch("sh", "-c", "sleep 0.2; exit 9").started()
    shim_pid = container.find_shim()
    container.control.close()
    eventually(lambda: not alive(shim_pid))
    assert read_exit_file(container.state)["code"] == 9
    assert os.listdir(container.state) == ["exit.json"]


def test_a_daemon_that_comes_after_the_exit_is_told_again(machine):
    container = machine.launch("sh", "-c", "exit 4").started()
    container.until("exit")
    with container.client() as shim:
        hello = shim.hello()
        assert hello["status"] == "exited"
        assert hello["exit"]["code"] == 4
        with shim.events() as events:
            events.settimeout(5)
            assert read_event(events)["code"] == 4


def test_the_launcher_is_started_again_when_it_died(machine):
    first = machine.launcher.pid
    os.kill(first, signal.SIGKILL)
    time.sleep(0.05)
    container = machine.launch("true").started()
    assert container.until("exit")["code"] == 0
    assert machine.launcher.pid != first


def test_many_launches_leave_no_descriptor_and_no_zombie_in_the_launcher(machine):
    def run(count):
        for number in range(count):
            ours, theirs = client_pair()
            container = machine.launch(
                "true", id=f"n{number}", clients=[(ClientAttach(False, True, True), theirs)]
            ).started()
            container.until("exit")
            container.release()
            container.control.close()
            ours.close()

    launcher = machine.launcher.pid
    run(5)
    before = len(os.listdir(f"/proc/{launcher}/fd"))
    run(50)
    assert len(os.listdir(f"/proc/{launcher}/fd")) <= before
    children = Path(f"/proc/{launcher}/task/{launcher}/children")
    eventually(lambda: len(children.read_text().split()) == 1)  # the shim that waits for the next launch


def test_a_shim_is_its_own_session_and_shows_its_container(machine):
    container = machine.launch("sleep", "100").started()
    shim = container.find_shim()
    assert os.getsid(shim) == shim
    assert Path(f"/proc/{shim}/comm").read_text() == "barque-shim\n"
    assert Path(f"/proc/{shim}/cmdline").read_bytes().rstrip(b"\0") == b"barque-shim c0"
    assert os.readlink(f"/proc/{shim}/cwd") == "/"


def test_signals_a_terminal_or_a_service_manager_sends_do_not_end_a_shim(machine):
    container = machine.launch("sleep", "100").started()
    shim = container.find_shim()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        os.kill(shim, number)
    assert container.find_shim() == shim


def test_the_program_starts_with_default_signals(machine):
    container = machine.launch("sh", "-c", "grep SigIgn /proc/self/status; grep SigBlk /proc/self/status")
    container.started().until("exit")
    ignored, blocked = (
        int(line.split()[1], 16) for line in container.log().replace(b"stdout", b"").splitlines()[:2]
    )
    assert (ignored & 0x7FFFFFFF, blocked) == (0, 0)  # 32 and 33 are the C library's own


def test_the_program_inherits_no_descriptor(tmp_path):
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)  # as a daemon may have got from whoever started it
    machine = Machine(tmp_path)
    container = machine.launch("/bin/ls", "-l", "/proc/self/fd").started()
    container.until("exit")
    descriptors = [line.split()[-3] for line in container.log().splitlines()[1:-1]]
    assert descriptors == [b"0", b"1", b"2", b"3"]  # 3 is what ls opened
    machine.close()
    os.close(read_end)
    os.close(write_end)


def open_files(pid: int) -> set[str]:
    """What its descriptors are, but for those that are closed meanwhile."""
    files = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            files.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return files


def test_a_resting_shim_has_only_the_descriptors_it_needs(machine):
    container = machine.launch("sleep", "100").started()
    children = Path(f"/proc/{machine.launcher.pid}/task/{machine.launcher.pid}/children")
    title = b"barque-shim c0"

    def shim() -> list[int]:
        pids = [int(pid) for pid in children.read_text().split()]
        return [pid for pid in pids if Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0") == title]

    eventually(lambda: len(shim()) == 1)
    assert shim()[0] != container.pid
    files = [name.partition(":")[0] for name in sorted(open_files(shim()[0]))]
    # stdin to stderr; the settings; signals, stdout and stderr; control and the listening socket
    assert files == ["/dev/null", "/memfd", "pipe", "pipe", "pipe", "socket", "socket"]


@pytest.mark.row("S33")
def test_the_socket_is_for_its_owner_and_has_a_path(machine):
    container = machine.launch("sleep", "100").started()
    mode = os.stat(os.path.join(container.state, "shim.sock")).st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    shim = container.find_shim()
    inodes = open_files(shim)
    abstract = [
        line for line in Path("/proc/net/unix").read_text().splitlines()
        if "@" in line and f"socket:[{line.split()[6]}]" in inodes
    ]  # fmt: skip
    assert abstract == []


@pytest.mark.row("S33")
@pytest.mark.root
def test_another_user_who_gets_at_the_socket_is_turned_away(machine):
    container = machine.launch("sleep", "100").started()
    path = os.path.join(container.state, "shim.sock")
    for directory in (*Path(path).parents,):
        if str(directory).startswith(str(machine.directory.parent)):
            os.chmod(directory, 0o755)
    os.chmod(path, 0o666)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.chdir(container.state)
            os.setresuid(65534, 65534, 65534)
            import socket

            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                sock.connect("shim.sock")
                sock.settimeout(5)
                try:
                    sock.send(json.dumps({"op": "hello"}).encode())
                    code = 3 if sock.recv(1000) == b"" else 4
                except OSError:
                    code = 3
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3


@pytest.mark.row("S1")
def test_the_shims_interpreter_cannot_be_opened_for_writing(machine):
    container = machine.launch("sleep", "100").started()
    for pid in (container.find_shim(), machine.launcher.pid):
        with pytest.raises(OSError, match=r"Read-only file system|Text file busy|Operation not permitted"):
            os.open(f"/proc/{pid}/exe", os.O_WRONLY)


def test_an_unknown_operation_is_refused_and_the_connection_goes_on(machine):
    container = machine.launch("sleep", "100").started()
    with container.client() as shim:
        from barque.spi.errors import InvalidArgument, NotImplemented

        with pytest.raises(NotImplemented):
            shim._ask({"op": "frobnicate"})
        shim._socket.send(b"\xff not json")
        reply = json.loads(shim._socket.recv(65536))
        assert reply["error"]["class"] == InvalidArgument.__name__
        assert shim.hello()["id"] == "c0"


def test_fakes_cover_every_hook_the_shim_calls():
    assert {ref.name for ref in FAKES} >= {
        "fake",
        "fails-create",
        "fails-start",
        "fails-exec",
        "fails-delete",
    }


def test_kill_reaches_init_and_is_refused_after_the_exit(machine):
    container = machine.launch("sleep", "100").started()
    with container.client() as shim:
        shim.kill(signal.SIGUSR1, all=False)
    assert container.until("exit")["code"] == 128 + signal.SIGUSR1
    with container.client() as shim, pytest.raises(Conflict, match="is not running"):
        shim.kill(signal.SIGTERM, all=False)


@pytest.mark.row("R15")
def test_with_a_shared_pid_namespace_the_rest_is_killed_with_init(machine):
    spec = {"process": {"args": ["sh", "-c", "sleep 300 & echo $!; exit 0"]}, "linux": {"namespaces": []}}
    container = machine.launch(spec=spec).started()
    container.until("exit")
    left = int(container.log().split()[1])
    eventually(lambda: not alive(left))


def test_a_delete_that_fails_is_written_down_and_does_not_hold_the_exit_back(machine):
    container = machine.launch("true", runtime="fails-delete").started()
    assert container.until("exit")["code"] == 0
    container.release()
    assert "delete fails as told" in Path(container.state, "shim.log").read_text()
