"""docker pause, unpause, update, stats and top, with every runtime behind the contract."""

import json
import signal
import socket
import time
from pathlib import Path

import pytest
from registry_image import IMAGE

pytestmark = pytest.mark.root

RUNTIMES = pytest.mark.parametrize("runtime", ["native", "runc", "crun"])
COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"


@pytest.fixture
def run(daemon):
    """run(runtime, *words) starts a detached container; all are removed at the end."""
    ids = []

    def start(runtime, *words):
        *options, script = words
        done = daemon.docker(
            "run", "-d", "--runtime", runtime, "--network", "none", *options, IMAGE, "sh", "-c", script
        )
        assert done.returncode == 0, done.stderr
        ids.append(done.stdout.strip())
        return ids[-1]

    yield start
    daemon.docker("rm", "-f", *ids)


def state(daemon, id):
    return json.loads(daemon.docker("inspect", id).stdout)[0]["State"]


def lines(daemon, id):
    return len(daemon.docker("logs", id).stdout.splitlines())


@RUNTIMES
def test_a_paused_container_stands_still(daemon, run, runtime):
    id = run(runtime, COUNT)
    assert daemon.docker("pause", id).stdout.strip() == id
    before = lines(daemon, id)
    time.sleep(0.3)
    assert lines(daemon, id) == before
    found = state(daemon, id)
    assert (found["Status"], found["Running"], found["Paused"]) == ("paused", True, True)
    assert "(Paused)" in daemon.docker("ps", "--filter", "status=paused", "--format", "{{.Status}}").stdout
    refused = daemon.docker("pause", id)
    assert refused.returncode == 1
    assert "already paused" in refused.stderr
    refused = daemon.docker("exec", id, "true")
    assert refused.returncode == 1
    assert f"Container {id} is paused, unpause the container before exec" in refused.stderr
    assert daemon.docker("unpause", id).returncode == 0
    deadline = time.monotonic() + 5
    while lines(daemon, id) <= before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert daemon.docker("exec", id, "true").returncode == 0
    assert "is not paused" in daemon.docker("unpause", id).stderr


@pytest.mark.row("R14")
@RUNTIMES
def test_a_paused_container_can_be_killed_and_stopped(daemon, run, runtime):
    killed, stopped = (
        run(runtime, "sleep 1000"),
        run(runtime, "trap 'exit 5' TERM; while :; do sleep 0.05; done"),
    )
    for id in (killed, stopped):
        assert daemon.docker("pause", id).returncode == 0
    began = time.monotonic()
    assert daemon.docker("kill", killed).returncode == 0
    assert daemon.docker("wait", killed).stdout.strip() == str(128 + signal.SIGKILL)
    assert time.monotonic() - began < 3
    began = time.monotonic()
    assert daemon.docker("stop", "-t", "8", stopped).returncode == 0
    assert time.monotonic() - began < 5, "it was killed after the timeout: the pause was not ended"
    assert state(daemon, stopped)["ExitCode"] == 5


def test_a_paused_container_stays_paused_over_a_new_daemon(own_daemon):
    id = own_daemon.docker("run", "-d", "--network", "none", IMAGE, "sh", "-c", COUNT).stdout.strip()
    own_daemon.docker("pause", id)
    own_daemon.kill()
    own_daemon.start()
    assert state(own_daemon, id)["Status"] == "paused"
    before = lines(own_daemon, id)
    assert own_daemon.docker("unpause", id).returncode == 0
    time.sleep(0.5)
    assert lines(own_daemon, id) > before
    assert own_daemon.docker("rm", "-f", id).returncode == 0


@RUNTIMES
def test_limits_change_while_it_runs_and_stay(daemon, run, runtime):
    id = run(runtime, "--memory", "64m", "--pids-limit", "50", "sleep 1000")
    done = daemon.docker(
        "update", "--memory", "96m", "--memory-swap", "192m", "--pids-limit", "70", "--cpus", "0.5", id
    )
    assert done.returncode == 0, done.stderr
    shown = daemon.docker(
        "exec", id, "sh", "-c",
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us 2>/dev/null || cat memory.max pids.max",
    ).stdout.split()  # fmt: skip
    assert shown[:2] == [str(96 << 20), "70"]
    host = json.loads(daemon.docker("inspect", id).stdout)[0]["HostConfig"]
    assert (host["Memory"], host["PidsLimit"], host["NanoCpus"]) == (96 << 20, 70, 500_000_000)
    refused = daemon.docker("update", "--cpu-quota", "20000", id)
    assert "CPU Period cannot be updated as NanoCPUs has already been set" in refused.stderr


@RUNTIMES
def test_stats_show_what_is_used(daemon, run, runtime):
    id = run(runtime, "--memory", "64m", "--name", f"used-{runtime}", "while :; do :; done")
    done = daemon.docker("stats", "--no-stream", "--format", "json", id)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["Name"] == f"used-{runtime}"
    assert row["PIDs"] == "1"
    assert row["MemUsage"].endswith(" / 64MiB")
    assert float(row["CPUPerc"].rstrip("%")) > 20
    assert not row["MemUsage"].startswith("0B")


def test_stats_of_a_container_that_does_not_run(daemon, run):
    id = run("native", "true")
    daemon.docker("wait", id)
    row = json.loads(daemon.docker("stats", "--no-stream", "--format", "json", id).stdout)
    assert row["PIDs"] == "0"


def test_the_stream_of_a_container_that_is_removed_ends_as_it_should(daemon, run):
    id = run("native", "sleep 1000")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(daemon.socket))
        client.sendall(
            f"GET /containers/{id}/stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert daemon.docker("rm", "-f", id).returncode == 0
        while data := client.recv(65536):
            answer += data
    assert b'"pids_stats":{"current":1' in answer
    assert answer.endswith(b"\r\n0\r\n\r\n"), "the stream was cut"


def test_top_tells_in_one_line_what_ps_refused(daemon, run):
    refused = daemon.docker("top", run("native", "sleep 1000"), "-o", "nosuch")
    assert refused.returncode == 1
    assert refused.stderr == (
        'Error response from daemon: ps: error: unknown user-defined format specifier "nosuch"\n'
    )


@RUNTIMES
def test_top_lists_the_processes_of_the_container_only(daemon, run, runtime):
    id = run(runtime, "sleep 1001 & sleep 1002")
    titles, *rows = daemon.docker("top", id).stdout.splitlines()
    assert titles.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert len(rows) == 2  # busybox executes the last command in place of the shell
    assert {row.split()[-1] for row in rows} >= {"1001", "1002"}
    assert daemon.docker("top", id, "-e", "--sort=-pid", "-o", "pid").stdout.split() == [
        "PID", *sorted((row.split()[1] for row in rows), key=int, reverse=True)
    ]  # fmt: skip
    rows = daemon.docker("top", id, "-o", "pid,comm").stdout.splitlines()
    assert rows[0].split() == ["PID", "COMMAND"]
    for row in rows[1:]:
        pid, name = row.split()
        assert Path(f"/proc/{pid}/comm").read_text().strip() == name
    refused = daemon.docker("top", id, "--", "-C;reboot")
    assert refused.returncode == 1
    assert "is no option of ps" in refused.stderr
