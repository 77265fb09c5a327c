"""SIGKILL of the daemon disturbs nothing, and the next daemon takes everything over (rows R1, R2, R4, R7, R8)."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from registry_image import IMAGE
from terminal import Terminal

from barque.engine.processes import start_time

pytestmark = pytest.mark.root

COUNT = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.01; done"


def pids(daemon):
    return {
        c["Id"]: daemon.json("GET", f"/containers/{c['Id']}/json")["State"]["Pid"]
        for c in daemon.json("GET", "/containers/json")
    }


def numbers(text):
    return [int(n) for n in re.findall(r"line (\d+)", text)]


@pytest.mark.row("R1")
@pytest.mark.timeout(300)
def test_fifty_containers_an_attached_one_and_an_exec_survive(own_daemon):
    daemon = own_daemon
    for _ in range(48):
        body = {"Image": IMAGE, "Cmd": ["sleep", "100000"]}
        id = daemon.json("POST", "/containers/create", body)["Id"]
        daemon.json("POST", f"/containers/{id}/start")
    daemon.docker("run", "-d", "--name", "counter", IMAGE, "sh", "-c", COUNT)
    shell = Terminal(daemon.docker_command("run", "-it", "--name", "shell", IMAGE, "sh"))
    executed = Terminal(daemon.docker_command("exec", "-it", "counter", "sh"))
    attached = subprocess.Popen(
        daemon.docker_command("attach", "--sig-proxy=false", "counter"), stdout=subprocess.PIPE, text=True
    )
    try:
        shell.expect("# ")
        executed.expect("# ")
        before = pids(daemon)
        assert len(before) == 50
        daemon.kill()
        time.sleep(0.5)
        shell.send("echo still $((40+2))\n")
        shell.expect("still 42")
        executed.send("echo exec $((40+3))\n")
        executed.expect("exec 43")
        ready = daemon.start()
        limit = (
            4.0 if "PYTEST_XDIST_WORKER" in os.environ else 1.0
        )  # beside two other workers on two processors
        for _ in range(2):  # the machine may be busy with something else: the best of three counts
            if ready >= limit:
                daemon.kill()
                ready = daemon.start()
        assert ready < limit, f"ready after {ready:.2f} s"
        assert pids(daemon) == before
        shell.send("echo again\n")
        shell.expect("again")
        assert daemon.docker("exec", "counter", "echo", "alive").stdout == "alive\n"
        executed.send("exit 5\n")
        assert executed.wait() == 5
        time.sleep(0.3)
        lines = numbers(daemon.docker("logs", "counter").stdout)
        assert lines == list(range(len(lines))), "a gap or a duplicate in the log"
        daemon.docker("kill", "counter")
        streamed = numbers(attached.communicate(timeout=10)[0])
        assert streamed == list(range(streamed[0], streamed[0] + len(streamed)))
        assert len(streamed) > 50
        shell.send("exit 3\n")
        shell.wait()
        assert daemon.docker("wait", "shell").stdout == "3\n"
    finally:
        shell.close()
        executed.close()
        attached.kill()
        attached.wait()


@pytest.mark.row("R2")
def test_exits_while_no_daemon_runs_are_known_afterwards(own_daemon):
    daemon = own_daemon
    for code in (0, 7):
        daemon.docker(
            "run",
            "-d",
            "--name",
            f"ends{code}",
            IMAGE,
            "sh",
            "-c",
            f"sleep 0.7; echo last words; exit {code}",
        )
    daemon.docker("run", "-d", "--rm", "--name", "vanishes", IMAGE, "sleep", "0.7")
    daemon.kill()
    time.sleep(1.5)
    before = time.strftime("%Y-%m-%dT%H:%M:%S.9Z", time.gmtime())
    daemon.start()
    for code in (0, 7):
        state = daemon.json("GET", f"/containers/ends{code}/json")["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", code)
        assert state["FinishedAt"] < before, "the time is the exit's, not the discovery's"
        assert daemon.docker("logs", f"ends{code}").stdout == "last words\n"
    deadline = time.monotonic() + 5
    while daemon.request("GET", "/containers/vanishes/json")[0] != 404:
        assert time.monotonic() < deadline, "--rm did not remove it"
        time.sleep(0.05)


def runs(pid):
    """Whether `pid` is there and no zombie."""
    return start_time(pid) is not None


def shim_of(daemon, name):
    """(shim, init); right after a start init's parent may still be the worker that made it."""
    pid = daemon.json("GET", f"/containers/{name}/json")["State"]["Pid"]
    deadline = time.monotonic() + 5
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        shim = int(re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE).group(1))
        if b"barque-shim" in Path(f"/proc/{shim}/cmdline").read_bytes():
            return shim, pid
        assert time.monotonic() < deadline


@pytest.mark.row("R4")
def test_a_killed_shim_takes_its_container_with_it(own_daemon):
    daemon = own_daemon
    daemon.docker("run", "-d", "--name", "orphan", IMAGE, "sleep", "1000")
    id = daemon.json("GET", "/containers/orphan/json")["Id"]
    shim, pid = shim_of(daemon, "orphan")
    since = str(time.time())
    os.kill(shim, signal.SIGKILL)
    deadline = time.monotonic() + 2
    while (state := daemon.json("GET", "/containers/orphan/json")["State"])["Running"]:
        assert time.monotonic() < deadline, "not noticed within 2 s"
        time.sleep(0.02)
    assert state["ExitCode"] == 137
    assert not runs(pid)
    assert not [
        name for name in os.listdir("/sys/fs/cgroup") if os.path.exists(f"/sys/fs/cgroup/{name}/barque/{id}")
    ]
    until = str(time.time())
    events = daemon.docker(
        "events", "--since", since, "--until", until, "--filter", "event=die", "--format", "{{json .}}"
    )
    assert [json.loads(line)["Actor"]["Attributes"]["exitCode"] for line in events.stdout.splitlines()] == [
        "137"
    ]
    assert daemon.docker("start", "orphan").returncode == 0
    assert daemon.docker("rm", "-f", "orphan").returncode == 0


@pytest.mark.row("R4")
def test_a_shim_killed_while_no_daemon_runs(own_daemon):
    daemon = own_daemon
    daemon.docker("run", "-d", "--name", "orphan", IMAGE, "sleep", "1000")
    shim, pid = shim_of(daemon, "orphan")
    daemon.kill()
    os.kill(shim, signal.SIGKILL)
    time.sleep(0.2)
    daemon.start()
    deadline = time.monotonic() + 2
    while (state := daemon.json("GET", "/containers/orphan/json")["State"])["Running"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert state["ExitCode"] == 137
    assert not runs(pid)


@pytest.mark.row("R7")
def test_a_recorded_pid_that_is_somebody_elses_now_is_left_alone(own_daemon):
    import sqlite3

    daemon = own_daemon
    daemon.docker("run", "-d", "--name", "gone", IMAGE, "sleep", "1000")
    id = daemon.json("GET", "/containers/gone/json")["Id"]
    shim, pid = shim_of(daemon, "gone")
    daemon.kill()
    for victim in (shim, pid):
        os.kill(victim, signal.SIGKILL)
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        with sqlite3.connect(daemon.base / "root" / "barque.db") as database:
            document = json.loads(
                database.execute("SELECT document FROM containers WHERE id = ?", (id,)).fetchone()[0]
            )
            document["state"]["pid"] = bystander.pid
            database.execute("UPDATE containers SET document = ? WHERE id = ?", (json.dumps(document), id))
        daemon.start()
        assert not daemon.json("GET", f"/containers/{id}/json")["State"]["Running"]
        assert bystander.poll() is None, "a process that is not ours was killed"
        bystander.kill()


@pytest.mark.row("R8")
def test_a_second_daemon_on_the_same_root_is_refused(own_daemon):
    import sys

    daemon = own_daemon
    command = [
        *daemon.lab.enter,
        sys.executable,
        "-m",
        "barque.engine.daemon",
        "--root",
        str(daemon.base / "root"),
    ]
    second = subprocess.run(
        [*command, "--run-dir", str(daemon.base / "run2"), "--host", f"unix://{daemon.base}/second.sock"],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert "another barqued uses the data root" in second.stderr
    assert daemon.answers()


@pytest.mark.row("R25")
def test_one_bad_record_is_listed_as_dead_and_the_rest_goes_on(own_daemon):
    import sqlite3

    daemon = own_daemon
    daemon.docker("run", "-d", "--name", "good", IMAGE, "sleep", "1000")
    daemon.docker("create", "--name", "bad", IMAGE, "true")
    daemon.kill()
    with sqlite3.connect(daemon.base / "root" / "barque.db") as database:
        database.execute(
            'UPDATE containers SET document = \'{"name": "bad", "nonsense"\' WHERE document LIKE \'%"bad"%\''
        )
    database.close()
    daemon.start()
    states = {c["Names"][0]: c["State"] for c in daemon.json("GET", "/containers/json?all=1")}
    assert states["/good"] == "running"
    assert "dead" in states.values()
    dead = next(c["Id"] for c in daemon.json("GET", "/containers/json?all=1") if c["State"] == "dead")
    assert daemon.docker("inspect", dead).returncode == 0
    assert daemon.docker("start", dead).returncode == 1
    assert daemon.docker("rm", dead).returncode == 0
    assert daemon.docker("ps", "-aq").stdout.count("\n") == 1


def test_another_profile_without_the_networks_driver_still_shows_and_removes(own_daemon):
    daemon = own_daemon
    daemon.docker("run", "-d", "--name", "bridged", IMAGE, "sleep", "1000")
    daemon.stop()
    daemon.profile = "minimal"
    daemon.start()
    assert "bridge" in daemon.docker("network", "ls").stdout
    assert daemon.docker("rm", "-f", "bridged").returncode == 0
    assert daemon.docker("ps", "-aq").stdout == ""
