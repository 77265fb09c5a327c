"""Healthchecks by the shim, with a runtime whose containers are plain processes."""

import fcntl
import json
import os
import signal
import struct
import termios
import time
from pathlib import Path

import pytest
from shim_harness import Machine

from barque.shim.exit_file import read_exit_file
from barque.shim.health import duration

MS = 1_000_000


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    machine = Machine(tmp_path_factory.mktemp("health"))
    yield machine
    machine.close()


@pytest.fixture
def checked(machine):
    """checked(script, interval_ms=…) starts a container with that healthcheck; its id is its test's own."""

    def start(script, *, interval=50, timeout=5000, period=0, start_interval=20, retries=2):
        health = {
            "process": {"args": ["sh", "-c", script]},
            "interval_ns": interval * MS,
            "timeout_ns": timeout * MS,
            "start_period_ns": period * MS,
            "start_interval_ns": start_interval * MS,
            "retries": retries,
        }
        spec = {
            "process": {"args": ["sleep", "1000"], "user": {"uid": 0, "gid": 0}, "env": ["HOME=/here"]},
            "linux": {"namespaces": [{"type": "pid"}]},
        }
        container = machine.launch(spec=spec, health=health).started()
        started.append(container)
        return container

    started = []
    yield start
    for container in started:
        if container.pid and read_exit_file(container.state) is None:
            os.kill(container.pid, signal.SIGKILL)
            container.until("exit")
            container.release()


def health_file(container):
    return json.loads(Path(container.state, "health.json").read_bytes())


def test_a_success_makes_healthy_and_failures_unhealthy(checked, tmp_path):
    mark = tmp_path / "ok"
    mark.touch()
    container = checked(f"echo said; echo loud >&2; test -e {mark}")
    begun, first = container.until("health-begin"), container.until("health")
    assert begun["exec"] == first["exec"]
    assert len(first["exec"]) == 64
    assert first["health"]["status"] == "healthy"
    (result,) = first["health"]["log"]
    assert result["exit_code"] == 0
    assert sorted(result["output"].split()) == ["loud", "said"]
    assert result["finished_ns"] >= result["started_ns"] > 0
    mark.unlink()
    while (report := container.until("health")["health"])["failing_streak"] == 0:
        continue
    assert (report["status"], report["failing_streak"]) == ("healthy", 1)
    report = container.until("health")["health"]
    assert (report["status"], report["failing_streak"]) == ("unhealthy", 2)
    mark.touch()
    while (report := container.until("health")["health"])["status"] == "unhealthy":
        continue
    assert (report["status"], report["failing_streak"]) == ("healthy", 0)


def test_the_file_has_the_last_five_and_stands_for_a_daemon_that_is_away(checked):
    container = checked("exit 3", interval=20, retries=100)
    container.until("health-begin")
    container.control.close()  # nobody listens any more
    deadline = time.monotonic() + 10
    while health_file(container)["failing_streak"] < 7:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    found = health_file(container)
    assert found["status"] == "starting"
    assert [one["exit_code"] for one in found["log"]] == [3] * 5
    container.control = _listen(container)


def _listen(container):
    with container.client() as shim:
        channel = shim.events()
    channel.settimeout(20)
    return channel


def test_failures_do_not_count_in_the_start_period_where_runs_are_closer(checked):
    container = checked("exit 1", interval=10_000, period=400, start_interval=30, retries=1)
    reports = []
    while not reports or reports[-1]["failing_streak"] == 0:
        reports.append(container.until("health")["health"])
        if len(reports) > 3 and reports[-1]["failing_streak"] == 0:
            break
    assert [report["failing_streak"] for report in reports[:3]] == [0, 0, 0]
    assert {report["status"] for report in reports[:3]} == {"starting"}


def test_one_that_takes_too_long_is_killed(checked, tmp_path):
    pid = tmp_path / "pid"
    container = checked(f"echo partly; echo $$ > {pid}; sleep 1000", timeout=150, retries=1)
    report = container.until("health")["health"]
    assert report["status"] == "unhealthy"
    assert report["log"][0]["exit_code"] == -1
    assert report["log"][0]["output"] == "Health check exceeded timeout (150ms): partly\n"
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_output_is_cut_and_nobody_blocks_on_it(checked):
    container = checked("head -c 200000 /dev/zero | tr '\\0' x; exit 0")
    result = container.until("health")["health"]["log"][0]
    assert result["exit_code"] == 0
    assert result["output"] == "x" * 4096 + "..."


def test_hostile_bytes_travel(checked):
    container = checked("head -c 4096 /dev/zero; printf '\\377'")
    output = container.until("health")["health"]["log"][0]["output"]
    assert output.startswith("\0" * 4096)


def test_a_command_that_cannot_be_executed_fails(machine, checked):
    container = checked("true")
    health = {**_settings(), "process": {"args": ["/nosuch"]}}
    other = machine.launch(
        "sleep", "1000", health=health, id=f"{Path(container.state).parent.name}-n"
    ).started()
    event = other.until("health")
    assert event["ran"] is False
    assert event["health"]["log"][0]["exit_code"] == -1
    assert "executable file not found" in event["health"]["log"][0]["output"]
    os.kill(other.pid, signal.SIGKILL)
    other.until("exit")
    other.release()


def _settings():
    return {
        "process": {"args": ["true"]}, "interval_ns": 30 * MS, "timeout_ns": 1000 * MS, "start_period_ns": 0,
        "start_interval_ns": 30 * MS, "retries": 1,
    }  # fmt: skip


def test_it_runs_as_the_containers_user_with_its_home(checked):
    container = checked('echo "$HOME"')
    assert container.until("health")["health"]["log"][0]["output"] == "/here\n"


def test_the_end_of_the_container_ends_it(checked):
    container = checked("sleep 1000", interval=10)
    container.until("health-begin")
    os.kill(container.pid, signal.SIGTERM)
    assert container.until("exit")["code"] == 143
    container.release()
    assert read_exit_file(container.state) is not None


@pytest.mark.row("R40")
def test_the_time_of_day_decides_nothing():
    """Were it asked anywhere, this clock, which leaps by hours, would show."""
    import barque.shim.health as module
    from barque.shim.loop import Loop

    leaps = iter(range(10**6))
    events, moments = [], []
    original, module.time_ns = module.time_ns, lambda: (next(leaps) % 2) * 3600 * 10**9
    state = os.open(os.devnull, os.O_RDONLY)
    try:
        loop = Loop(lambda error: events.append(error))
        settings = {**_settings(), "start_period_ns": 100 * MS, "retries": 2}
        checks = module.HealthChecks(loop, _Refusing(), state, settings, events.append)
        began = time.monotonic()

        def told():
            results = [e for e in events if e["event"] == "health"]
            while len(moments) < len(results):
                moments.append(time.monotonic() - began)
            return results and results[-1]["health"]["status"] == "unhealthy"

        loop.run(told)
        checks.stop()
        loop.close()
    finally:
        module.time_ns = original
        os.close(state)
    assert moments[0] >= 0.03
    assert 0.1 < moments[-1] < 2.0


def test_output_that_never_ends_does_not_keep_the_shim(tmp_path):
    """A turn takes no more than a pipe has room for, even where writers fill it faster than it is read."""
    from barque.shim import health as module
    from barque.shim.loop import Loop

    loop, probe = Loop(print), module._Probe()
    out = probe.stdio.child.stdout
    fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.set_blocking(out, False)
    before = os.write(out, bytes(1 << 20))
    state = os.open(tmp_path, os.O_RDONLY)
    times = ("interval_ns", "timeout_ns", "start_period_ns", "start_interval_ns")
    settings = {"process": {}, "retries": 1, **dict.fromkeys(times, 10**9)}
    checks = module.HealthChecks(loop, _Refusing(), state, settings, lambda event: None)
    try:
        ours = next(iter(probe.stdio.outputs))
        checks._read(probe, ours)
        left = struct.unpack("i", fcntl.ioctl(ours, termios.FIONREAD, bytes(4)))[0]
        assert before - left == 64 << 10
        assert probe.text() == "\0" * 4096 + "..."
    finally:
        probe.stdio.close()
        loop.close()
        os.close(state)


class _Refusing:
    """A runtime in which nothing can be executed."""

    def exec(self, process, stdio):
        from barque.spi.errors import NotFound

        raise NotFound("no")


@pytest.mark.parametrize(
    ("ns", "text"),
    [(150 * MS, "150ms"), (1500, "1.5µs"), (1_500_000, "1.5ms"), (10**9, "1s"), (1500 * MS, "1.5s"), (30 * 10**9, "30s"),
     (60 * 10**9, "1m0s"), (3600 * 10**9, "1h0m0s"), (3661 * 10**9, "1h1m1s"), (999, "999ns")],
)  # fmt: skip
def test_durations_are_written_as_go_does(ns, text):
    assert duration(ns) == text
