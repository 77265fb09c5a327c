"""Restart policies as Docker has them, and what becomes of containers when everything is killed (row R5)."""

import json
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
from registry_image import IMAGE, busybox_archive

from barque.testing.daemon import Daemon

pytestmark = pytest.mark.root

NO_NET = ("--network", "none")


@pytest.fixture(scope="module")
def policies(lab, workspace):
    """A daemon that may be killed; it has the image."""
    daemon = Daemon(Path(tempfile.mkdtemp(dir=workspace)), lab)
    try:
        daemon.start()
        archive = daemon.base / "busybox.tar"
        archive.write_bytes(busybox_archive())
        assert daemon.docker("load", "-q", "-i", str(archive)).returncode == 0
        yield daemon
    finally:
        if not daemon.answers():
            daemon.start()
        daemon.close()


@pytest.fixture
def run(policies):
    """run(name, *options, program=…) makes and starts one; all are removed at the end."""
    made = []

    def start(name, *options, program=("sleep", "100000"), verb="run"):
        detached = ("-d",) if verb == "run" else ()
        done = policies.docker(verb, *detached, "--name", name, *NO_NET, *options, IMAGE, *program)
        assert done.returncode == 0, done.stderr
        made.append(name)
        return done.stdout.strip()

    yield start
    if not policies.answers():
        policies.start()
    policies.docker("rm", "-f", *made)


def inspect(daemon, name):
    return daemon.json("GET", f"/containers/{name}/json")


def state(daemon, name):
    return inspect(daemon, name)["State"]


def until(daemon, name, wanted, seconds=10.0):
    """Wait until the container's document is as `wanted` says."""
    deadline = time.monotonic() + seconds
    while not wanted(document := inspect(daemon, name)):
        assert time.monotonic() < deadline, (document["State"], document["RestartCount"])
        time.sleep(0.02)
    return document


def actions(daemon, name):
    filters = quote(json.dumps({"container": [inspect(daemon, name)["Id"]], "type": ["container"]}))
    _, body = daemon.request("GET", f"/events?since=1&until={time.time():.3f}&filters={filters}")
    return [json.loads(line)["Action"] for line in body.splitlines() if line]


def shim_of(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid")))


def lines_of(daemon, name):
    return daemon.docker("logs", name).stdout.splitlines()


@pytest.mark.row("R40")
def test_a_failure_is_repeated_as_often_as_the_policy_says_and_ever_more_slowly(policies, run):
    run("few", "--restart", "on-failure:3", program=("sh", "-c", "cat /proc/uptime; exit 3"))
    ended = until(policies, "few", lambda d: d["State"]["Status"] == "exited" and d["RestartCount"] == 3)
    assert ended["State"]["ExitCode"] == 3
    assert not ended["State"]["Restarting"]
    assert ended["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    uptimes = [float(line.split()[0]) for line in lines_of(policies, "few")]
    waits = [later - earlier for earlier, later in pairwise(uptimes)]
    assert len(waits) == 3
    for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True):
        assert wait >= least - 0.011  # /proc/uptime has hundredths
    assert actions(policies, "few") == ["create", "start", *(["die", "start"] * 3), "die"]


def test_success_is_not_repeated_by_on_failure_but_by_always(policies, run):
    run("content", "--restart", "on-failure", program=("true",))
    run("restless", "--restart", "always", program=("true",))
    until(policies, "restless", lambda d: d["RestartCount"] >= 2)
    assert inspect(policies, "content")["RestartCount"] == 0
    assert state(policies, "content")["Status"] == "exited"


def test_a_restarting_container_is_shown_and_answers_as_dockers_does(policies, run):
    # 200, 400, 800 ms …: after some ends the pauses are long enough to be looked at
    id = run("loop", "--restart", "always", program=("sh", "-c", "exit 4"))
    found = until(policies, "loop", lambda d: d["RestartCount"] >= 4 and d["State"]["Restarting"])["State"]
    assert (found["Status"], found["Running"], found["Pid"], found["ExitCode"]) == ("restarting", True, 0, 4)
    listed = policies.docker("ps", "--filter", "status=restarting", "--format", "{{.Names}} {{.Status}}")
    assert listed.stdout.startswith("loop Restarting (4) ")
    restarting = f"Container {id} is restarting, wait until the container is running"
    for method, path, body in (
        ("POST", "pause", None), ("GET", "top", None), ("POST", "exec", {"Cmd": ["true"]}),
    ):  # fmt: skip
        status, answer = policies.request(method, f"/containers/loop/{path}", body)
        assert (status, json.loads(answer)["message"]) == (409, restarting), path
    assert policies.request("POST", "/containers/loop/start")[0] == 304
    status, answer = policies.request("DELETE", "/containers/loop")
    assert status == 409
    assert json.loads(answer)["message"] == (
        'cannot remove container "/loop": container is restarting: '
        "stop the container before removing or force remove"
    )


def test_a_stop_in_the_pause_ends_it_and_a_start_begins_anew(policies, run):
    run("loop", "--restart", "always", program=("sh", "-c", "exit 4"))
    until(policies, "loop", lambda d: d["RestartCount"] >= 3 and d["State"]["Restarting"])
    assert policies.docker("stop", "loop").returncode == 0
    assert state(policies, "loop")["Status"] == "exited"
    assert actions(policies, "loop")[-1] == "stop"
    count = inspect(policies, "loop")["RestartCount"]
    time.sleep(0.9)
    assert inspect(policies, "loop")["RestartCount"] == count
    policies.json("POST", "/containers/loop/start")
    until(policies, "loop", lambda d: 0 < d["RestartCount"] < count)


def test_a_kill_rests_the_policy(policies, run):
    run("victim", "--restart", "always")
    assert policies.docker("kill", "victim").returncode == 0
    until(policies, "victim", lambda d: d["State"]["Status"] == "exited")
    time.sleep(0.3)
    assert state(policies, "victim")["Status"] == "exited"
    assert inspect(policies, "victim")["RestartCount"] == 0


def test_a_crash_does_not(policies, run):
    run("victim", "--restart", "unless-stopped")
    first = state(policies, "victim")["Pid"]
    os.kill(first, signal.SIGKILL)
    again = until(
        policies, "victim", lambda d: d["RestartCount"] == 1 and d["State"]["Pid"] not in (0, first)
    )
    assert again["State"]["Status"] == "running"


def test_waiters_are_told_of_each_end(policies, run):
    run("worker", "--restart", "always", program=("sh", "-c", "sleep 0.3; exit 6"))
    for condition in ("not-running", "next-exit", "not-running"):
        answer = policies.json("POST", f"/containers/worker/wait?condition={condition}")
        assert answer == {"StatusCode": 6}


def test_a_policy_can_be_changed(policies, run):
    run("late", program=("sh", "-c", "sleep 0.5; exit 1"))
    assert policies.docker("update", "--restart", "on-failure:1", "late").returncode == 0
    ended = until(policies, "late", lambda d: d["RestartCount"] == 1 and d["State"]["Status"] == "exited")
    assert ended["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 1}
    assert "update" in actions(policies, "late")
    run("temporary", "--rm")
    refused = policies.docker("update", "--restart", "always", "temporary")
    assert refused.stderr.strip().endswith(
        "Restart policy cannot be updated because AutoRemove is enabled for the container"
    )


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"Name": "sometimes"}, "invalid restart policy: unknown policy 'sometimes'; use one of 'no', "
         "'always', 'on-failure', or 'unless-stopped'"),
        ({"Name": "on-failure", "MaximumRetryCount": -1},
         "invalid restart policy: maximum retry count cannot be negative"),
        ({"Name": "always", "MaximumRetryCount": 1},
         "invalid restart policy: maximum retry count can only be used with 'on-failure'"),
    ],
)  # fmt: skip
def test_nonsense_is_refused(policies, policy, words):
    status, body = policies.request(
        "POST", "/containers/create", {"Image": IMAGE, "Cmd": ["x"], "HostConfig": {"RestartPolicy": policy}}
    )
    assert (status, json.loads(body)["message"]) == (400, words)


def test_rm_and_a_policy_exclude_each_other(policies):
    host = {"AutoRemove": True, "RestartPolicy": {"Name": "always"}}
    body = {"Image": IMAGE, "Cmd": ["x"], "HostConfig": host}
    status, answer = policies.request("POST", "/containers/create", body)
    assert status == 400
    assert json.loads(answer)["message"] == "can't create 'AutoRemove' container with restart policy"


def test_docker_restart_counts_for_no_policy_and_keeps_what_rm_would_remove(policies, run):
    run("kept", "--rm")
    before = state(policies, "kept")["Pid"]
    assert policies.docker("restart", "-t", "0", "kept").returncode == 0
    after = inspect(policies, "kept")
    assert after["State"]["Pid"] not in (0, before)
    assert after["RestartCount"] == 0
    assert actions(policies, "kept")[-5:] == ["kill", "die", "stop", "start", "restart"]
    policies.docker("stop", "-t", "0", "kept")
    deadline = time.monotonic() + 5
    while policies.request("GET", "/containers/kept/json")[0] != 404:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_everything(daemon, reboot=False):
    """SIGKILL to the daemon, the shims and the containers; the run directory stays as it was, or goes as with a reboot."""
    running = [inspect(daemon, c["Id"])["State"]["Pid"] for c in daemon.json("GET", "/containers/json")]
    victims = [pid for pid in running if pid]
    shims = [shim_of(pid) for pid in victims]
    daemon.kill()
    for pid in (*shims, *victims):
        os.kill(pid, signal.SIGKILL)
    if reboot:
        shutil.rmtree(daemon.base / "run")
        with sqlite3.connect(daemon.base / "root" / "barque.db") as database:
            for id, text in database.execute("SELECT id, document FROM containers").fetchall():
                document = json.dumps({**json.loads(text), "boot_id": "another"})
                database.execute("UPDATE containers SET document = ? WHERE id = ?", (document, id))
        database.close()


@pytest.mark.row("R5")
@pytest.mark.parametrize("reboot", [False, True], ids=["stale-run-dir", "reboot"])
def test_everything_killed(policies, run, reboot):
    run("plain")
    run("forever", "--restart", "always")
    run("unless", "--restart", "unless-stopped")
    run("failing", "--restart", "on-failure:5")
    run("forever-stopped", "--restart", "always")
    run("unless-stopped", "--restart", "unless-stopped")
    run("failing-stopped", "--restart", "on-failure")
    run("never-started", "--restart", "no", verb="create")
    run("tenant", "--restart", "always", "--pid", "container:forever")
    policies.docker("stop", "-t", "0", "forever-stopped", "unless-stopped", "failing-stopped")
    kill_everything(policies, reboot)
    policies.start()
    for name in ("forever", "unless", "failing", "forever-stopped", "tenant"):
        until(policies, name, lambda d: d["State"]["Status"] == "running")
        assert policies.docker("exec", name, "echo", "alive").stdout == "alive\n"
    plain = state(policies, "plain")
    assert (plain["Status"], plain["ExitCode"]) == ("exited", 255 if reboot else 137)
    for name in ("unless-stopped", "failing-stopped"):
        assert state(policies, name)["Status"] == "exited", name
    assert state(policies, "never-started")["Status"] == "created"
    first, tenant = (Path(f"/proc/{state(policies, n)['Pid']}/ns/pid") for n in ("forever", "tenant"))
    assert os.readlink(first) == os.readlink(tenant)
    policies.json("POST", "/containers/plain/start")  # the first start works


@pytest.mark.row("R5")
def test_what_ends_while_no_daemon_runs_is_restarted_or_removed_by_the_next(policies, run):
    run("again", "--restart", "always", program=("sh", "-c", "sleep 0.6; exit 2"))
    run("gone", "--rm", program=("sleep", "0.6"))
    run("waiting", "--restart", "always", program=("sh", "-c", "exit 1"))
    until(policies, "waiting", lambda d: d["RestartCount"] >= 4 and d["State"]["Restarting"])
    policies.kill()
    time.sleep(0.8)
    policies.start()
    until(policies, "again", lambda d: d["State"]["Status"] == "running")
    until(policies, "waiting", lambda d: d["State"]["ExitCode"] == 1 and d["RestartCount"] >= 1)
    deadline = time.monotonic() + 5
    while policies.request("GET", "/containers/gone/json")[0] != 404:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_that_runs_again_tells_when_it_ended_last(policies, run):
    run("again", program=("true",))
    policies.docker("wait", "again")
    ended = inspect(policies, "again")["State"]["FinishedAt"]
    run("on", program=("sleep", "100000"))
    assert inspect(policies, "on")["State"]["FinishedAt"].startswith("0001-")
    assert not ended.startswith("0001-")
    policies.docker("restart", "-t", "0", "on")
    state = inspect(policies, "on")["State"]
    assert state["Running"], state
    assert ended < state["FinishedAt"] <= state["StartedAt"], state
