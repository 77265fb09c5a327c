"""`--init`, containers that run out of memory (row R12), and processes that outlive their parents (rows R9, R15, R16)."""

import json
import os
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from cgroup_parents import cgroups_below, remove_cgroups
from registry_image import IMAGE
from stress_lab import shim_of

pytestmark = pytest.mark.root

PARENT = f"/bq-endings-{os.getpid()}"


@pytest.fixture(scope="module", autouse=True)
def cgroup_parent():
    yield
    remove_cgroups(PARENT)


@pytest.fixture
def run(daemon):
    made = []

    def start(*options, program=("sleep", "100000")):
        done = daemon.docker(
            "run", "-d", "--network", "none", "--cgroup-parent", PARENT, *options, IMAGE, *program
        )
        assert done.returncode == 0, done.stderr
        made.append(done.stdout.strip())
        return made[-1]

    yield start
    daemon.docker("rm", "-f", *made)


def state(daemon, id):
    return daemon.json("GET", f"/containers/{id}/json")["State"]


def until(daemon, id, wanted, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not wanted(found := state(daemon, id)):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def actions(daemon, id):
    filters = quote(json.dumps({"container": [id], "type": ["container"]}))
    _, body = daemon.request("GET", f"/events?since=1&until={time.time():.3f}&filters={filters}")
    return [json.loads(line)["Action"] for line in body.splitlines() if line]


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def zombies(pid):
    return [c for c in children(pid) if " Z " in Path(f"/proc/{c}/stat").read_text().rpartition(")")[2][:3]]


# --init


def test_the_init_is_pid_1_reaps_and_is_shown(daemon, run):
    id = run("--init", program=("sh", "-c", "(sleep 0.1 &); (sleep 0.1 &); echo $$; exec sleep 1000"))
    pid = state(daemon, id)["Pid"]
    assert Path(f"/proc/{pid}/comm").read_text() == "docker-init\n"
    top = daemon.json("GET", f"/containers/{id}/top?ps_args=-o%20pid,args")["Processes"]
    assert top[0][1].startswith("/sbin/docker-init -- sh -c ")
    deadline = time.monotonic() + 5
    while len(children(pid)) > 1:
        assert time.monotonic() < deadline, "orphans are not reaped"
        time.sleep(0.02)
    document = daemon.json("GET", f"/containers/{id}/json")
    assert document["HostConfig"]["Init"] is True
    assert document["Path"] == "sh"
    assert daemon.docker("logs", id).stdout.strip() != "1"
    assert "/sbin/docker-init" in daemon.docker("exec", id, "grep", "docker-init", "/proc/mounts").stdout
    denied = daemon.docker("exec", id, "sh", "-c", "echo x > /sbin/docker-init")
    assert denied.returncode != 0


def test_it_passes_signals_on_and_ends_as_its_child(daemon, run):
    id = run("--init", program=("sh", "-c", "trap 'exit 42' TERM; echo up; while :; do sleep 0.05; done"))
    until(daemon, id, lambda _: daemon.docker("logs", id).stdout == "up\n")
    daemon.json("POST", f"/containers/{id}/stop?t=5")
    assert state(daemon, id)["ExitCode"] == 42
    id = run("--init")  # sleep: it would ignore TERM as pid 1
    began = time.monotonic()
    daemon.json("POST", f"/containers/{id}/stop?t=10")
    assert time.monotonic() - began < 5
    assert state(daemon, id)["ExitCode"] == 143


@pytest.mark.parametrize(
    ("program", "code"), [(("sh", "-c", "exit 7"), 7), (("nosuch",), 127), (("/etc/passwd",), 126), (("sh", "-c", "kill -9 $$"), 137)]
)  # fmt: skip
def test_exit_codes_pass_through_the_init(daemon, program, code):
    assert daemon.docker("run", "--rm", "--init", "--network", "none", IMAGE, *program).returncode == code


def test_a_terminal_is_the_childs(daemon):
    from terminal import Terminal

    shell = Terminal(daemon.docker_command("run", "--rm", "-it", "--init", "--network", "none", IMAGE, "sh"))
    try:
        shell.expect("# ")
        shell.send("sleep 1000\n")
        time.sleep(0.3)
        shell.send("\x03")
        shell.expect("# ")
        shell.send("echo $((40+2)) $$\n")
        shell.expect("42 ")
        shell.send("exit 3\n")
        assert shell.wait() == 3
    finally:
        shell.close()


def test_the_program_is_made_once_and_again_when_it_was_changed(daemon, run):
    run("--init")
    file = daemon.base / "root" / "init" / "docker-init"
    assert file.stat().st_mode & 0o7777 == 0o555
    before = file.stat().st_ino
    run("--init")
    assert file.stat().st_ino == before
    assert file.read_bytes()[:4] == b"\x7fELF"


# memory


@pytest.mark.row("R12")
def test_a_main_process_killed_for_memory(daemon, run):
    id = run("--memory", "16m", "--memory-swap", "16m", program=("tail", "/dev/zero"))
    found = until(daemon, id, lambda s: s["Status"] == "exited")
    assert (found["ExitCode"], found["OOMKilled"]) == (137, True)
    assert actions(daemon, id) == ["create", "start", "oom", "die"]


@pytest.mark.row("R12")
def test_a_child_killed_for_memory_is_told_while_the_container_runs(daemon, run):
    script = "tail /dev/zero; echo child $?; while ! test -e /tmp/go; do sleep 0.05; done; exit 5"
    id = run("--memory", "16m", "--memory-swap", "16m", program=("sh", "-c", script))
    found = until(daemon, id, lambda s: s["OOMKilled"])
    assert found["Status"] == "running"
    assert actions(daemon, id) == ["create", "start", "oom"]
    daemon.docker("exec", id, "touch", "/tmp/go")
    found = until(daemon, id, lambda s: s["Status"] == "exited")
    assert (found["ExitCode"], found["OOMKilled"]) == (5, True)
    daemon.json("POST", f"/containers/{id}/start")
    assert state(daemon, id)["Status"] in ("running", "exited")


def test_a_container_without_a_limit_pays_nothing_for_it(daemon, run):
    id = run()
    shim = shim_of(daemon, id)
    links = [os.readlink(fd) for fd in Path(f"/proc/{shim}/fd").iterdir()]
    assert not [link for link in links if "eventfd" in link or "memory." in link]


# processes that outlive others


@pytest.mark.row("R15")
def test_what_outlives_init_in_a_shared_pid_namespace_is_killed(daemon, run):
    host = run(
        "--pid", "host", program=("sh", "-c", "sleep 54321 & while ! test -e /tmp/go; do sleep 0.05; done")
    )
    lender = run()
    guest = run("--pid", f"container:{lender}", program=("sh", "-c", "sleep 54322 & sleep 0.5"))
    assert len(members(host)) >= 2
    daemon.docker("exec", host, "touch", "/tmp/go")
    for id in (host, guest):
        until(daemon, id, lambda s: s["Status"] == "exited")
        deadline = time.monotonic() + 5
        while members(id):
            assert time.monotonic() < deadline, members(id)
            time.sleep(0.02)
    assert state(daemon, lender)["Status"] == "running"


def members(id):
    """Processes of the container's cgroups, all over the host."""
    files = [path / "cgroup.procs" for path in cgroups_below(PARENT) if path.name == id]
    found = set()
    for file in files:
        try:
            found.update(file.read_text().split())
        except (FileNotFoundError, OSError):
            continue
    return found


@pytest.mark.row("R16")
def test_many_detached_execs_leave_no_zombie(daemon, run):
    id = run()
    shim = shim_of(daemon, id)
    execs = []
    for number in range(200):
        body = {"Cmd": ["sh", "-c", f"(sleep 0 &); exit {number % 7}"], "Detach": True}
        execs.append(daemon.json("POST", f"/containers/{id}/exec", body)["Id"])
        daemon.json("POST", f"/exec/{execs[-1]}/start", {"Detach": True})
    deadline = time.monotonic() + 20
    while any(daemon.json("GET", f"/exec/{one}/json")["Running"] for one in execs[-5:]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ended = [daemon.json("GET", f"/exec/{one}/json") for one in execs]
    assert [one["ExitCode"] for one in ended] == [number % 7 for number in range(200)]
    assert zombies(shim) == []
    assert zombies(daemon.process.pid) == []
    assert len(children(shim)) <= 2, "more than init and the worker that is kept ready for a further exec"


@pytest.mark.row("R9")
def test_an_exec_that_races_with_the_exit_has_an_answer(daemon, run):
    for _ in range(5):
        id = run(program=("sleep", "0.15"))
        created = daemon.request("POST", f"/containers/{id}/exec", {"Cmd": ["true"]})
        began = time.monotonic()
        if created[0] == 201:
            exec_id = json.loads(created[1])["Id"]
            time.sleep(0.1)
            status, _ = daemon.request("POST", f"/exec/{exec_id}/start", {"Detach": True})
            assert status in (200, 400, 404, 409, 500)
            assert daemon.json("GET", f"/exec/{exec_id}/json")["Running"] in (True, False)
        else:
            assert created[0] == 409
        assert time.monotonic() - began < 2.5
        until(daemon, id, lambda s: s["Status"] == "exited")
