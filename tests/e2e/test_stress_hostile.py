"""Containers and clients that take all they can get: others are served meanwhile (rows R13, R22, R23)."""

import threading
import time
from pathlib import Path

import pytest
from registry_image import IMAGE
from stress_lab import FULL, factor, hijacked, resident, shim_of, stressed

pytestmark = pytest.mark.root

FLOOD = 200_000_000 if FULL else 30_000_000
SHARE = FLOOD / 200_000_000
# Always at its limit: who is refused a fork dies, and another one has its place.
BOMB = "(f() { while :; do (while :; do busybox true; done) & f & busybox true; done; }; f) 2>/dev/null & exec sleep 100000"
LINES = f"yes {'x' * 99} | head -c {FLOOD}"


@pytest.fixture(scope="module")
def daemon():
    with stressed() as daemon:
        yield daemon


@pytest.fixture
def make(daemon):
    """make(command, …) creates one (`HostConfig` from the keywords); its id. All go at the end."""
    made = []

    def create(*command, **host):
        body = {"Image": IMAGE, "Cmd": command, "HostConfig": {"NetworkMode": "none", **host}}
        made.append(daemon.json("POST", "/containers/create", body)["Id"])
        return made[-1]

    yield create
    for id in made:
        daemon.request("DELETE", f"/containers/{id}?force=1")


@pytest.mark.row("R13")
def test_a_fork_bomb_hurts_nobody_and_goes_in_a_moment(daemon, make):
    bomb = make("sh", "-c", BOMB, PidsLimit=50)
    other = make("sleep", "100000")
    daemon.json("POST", f"/containers/{other}/start")
    daemon.json("POST", f"/containers/{bomb}/start")
    most, times = 0, []
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for path in ("/_ping", "/containers/json", f"/containers/{bomb}/json", f"/containers/{other}/json"):
            begun = time.monotonic()
            daemon.json("GET", path) if path != "/_ping" else daemon.answers()
            times.append(time.monotonic() - begun)
        stats = daemon.json("GET", f"/containers/{bomb}/stats?stream=0&one-shot=1")
        most = max(most, stats["pids_stats"]["current"])
    assert 40 <= most <= 50
    times.sort()
    p99 = times[int(len(times) * 0.99)]
    print(f"{len(times)} requests, p99 {p99 * 1000:.1f} ms")
    assert p99 < 0.2 * factor()
    begun = time.monotonic()
    daemon.json("POST", f"/containers/{bomb}/kill")
    assert daemon.json("POST", f"/containers/{bomb}/wait") == {"StatusCode": 137}
    assert time.monotonic() - begun <= 2 * factor()
    daemon.json("DELETE", f"/containers/{bomb}")


@pytest.mark.row("R22")
@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_a_flood_stays_within_its_rotation(daemon, make, driver):
    options = {"max-size": "1m", "max-file": "2", "compress": "false"}
    if driver == "json-file":
        del options["compress"]
    id = make("sh", "-c", LINES, LogConfig={"Type": driver, "Config": options})
    before = resident(daemon)
    state = daemon.base / "root" / "containers" / id
    begun = time.monotonic()
    daemon.json("POST", f"/containers/{id}/start")
    most, grown, shim = 0, 0, shim_of(daemon, id)
    ended = threading.Event()
    waiter = threading.Thread(target=lambda: (daemon.json("POST", f"/containers/{id}/wait"), ended.set()))
    waiter.start()
    while not ended.wait(0.02):
        most = max(most, kept(state))
        grown = max(grown, memory(shim) + resident(daemon) - before)
    waiter.join()
    took = time.monotonic() - begun
    print(
        f"{driver}: {FLOOD / 1e6:.0f} MB in {took:.2f} s, at most {most} bytes kept, {grown / 1e6:.1f} MB more memory"
    )
    assert 500_000 < kept(state) <= 2_100_000
    assert most <= 2_100_000
    assert grown < 50_000_000
    assert took <= max(25 * SHARE, 2) * factor()
    tail = daemon.docker("logs", "--tail", "3", id).stdout
    assert tail.splitlines()[:2] == ["x" * 99] * 2


@pytest.mark.row("R23")
def test_readers_that_are_stuck_hold_nobody_up(daemon, make):
    """Three clients ask for the output and read none of it; the fourth gets all, the exit is told, and other containers go on."""
    script = f"read go; yes {'y' * 99} | head -c 20000000; exit 7"
    body = {
        "Image": IMAGE, "Cmd": ["sh", "-c", script], "OpenStdin": True, "StdinOnce": True, "AttachStdin": True,
        "HostConfig": {"NetworkMode": "none"},
    }  # fmt: skip
    id = daemon.json("POST", "/containers/create", body)["Id"]
    try:
        daemon.json("POST", f"/containers/{id}/start")
        attach = f"/containers/{id}/attach?stream=1&stdout=1"
        with (
            hijacked(daemon, attach),
            hijacked(daemon, attach),
            stuck_logs(daemon, id),
            hijacked(daemon, attach + "&stdin=1") as (reader, first),
        ):
            assert first.startswith(b"HTTP/1.1 101")
            begun = time.monotonic()
            reader.sendall(b"go\n")
            got = len(first.partition(b"\r\n\r\n")[2])
            while chunk := reader.recv(1 << 20):
                got += len(chunk)
            assert got >= 20_000_000
            assert daemon.json("POST", f"/containers/{id}/wait") == {"StatusCode": 7}
            assert time.monotonic() - begun < 10 * factor()
            begun = time.monotonic()
            other = make("true")
            daemon.json("POST", f"/containers/{other}/start")
            assert daemon.json("POST", f"/containers/{other}/wait") == {"StatusCode": 0}
            assert daemon.docker("logs", "--tail", "1", id).stdout.startswith("yyy")
            assert time.monotonic() - begun < 3 * factor()
            daemon.json("DELETE", f"/containers/{id}?force=1")
            assert daemon.request("GET", f"/containers/{id}/json")[0] == 404
    finally:
        daemon.request("DELETE", f"/containers/{id}?force=1")


def stuck_logs(daemon, id):
    """A client that follows the log and reads nothing."""
    return hijacked(daemon, f"/containers/{id}/logs?follow=1&stdout=1", method="GET", read=False)


def kept(state):
    """Bytes of the log's files."""
    total = 0
    for path in state.rglob("*log*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # rotated away
    return total


def memory(pid):
    """Resident bytes of a process; none when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except (FileNotFoundError, ProcessLookupError):
        return 0
