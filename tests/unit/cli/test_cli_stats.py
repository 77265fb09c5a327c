"""`stats` that goes on: the table, containers that come and go, and charts on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time
from typing import Any

import pytest
from cli_fake_daemon import Exchange, FakeDaemon, Request
from cli_program import BARQUE, environment

from barque.cli.charts import sparkline
from barque.cli.usage import Usage

WEB, JOB = "a" * 64, "b" * 64


def sample(name: str, identity: str, busy: int) -> dict[str, Any]:
    return {
        "id": identity, "name": f"/{name}",
        "cpu_stats": {"cpu_usage": {"total_usage": busy}, "system_cpu_usage": 2_000_000_000, "online_cpus": 2},
        "precpu_stats": {"cpu_usage": {"total_usage": 0}, "system_cpu_usage": 1_000_000_000},
        "memory_stats": {"usage": 50 << 20, "limit": 100 << 20, "stats": {}}, "pids_stats": {"current": 3},
    }  # fmt: skip


def streaming(daemon: FakeDaemon, identity: str, name: str, ends: threading.Event) -> None:
    def stream(_request: Request, answer: Exchange) -> None:
        answer.begin()
        for number in range(200):
            answer.chunk(json.dumps(sample(name, identity, number * 1_000_000)).encode() + b"\n")
            if ends.wait(0.05):
                break
        answer.end()

    daemon.route(f"GET /containers/({identity}|{re.escape(name)})/stats", stream)


@pytest.mark.parametrize(
    ("sample_", "expected"),
    [
        ({}, (0.0, 0.0, 0.0)),
        (sample("x", WEB, 250_000_000), (50.0, 50 << 20, 50.0)),
        ({"memory_stats": {"usage": 10, "limit": 0, "stats": {"inactive_file": 4}}}, (0.0, 6.0, 0.0)),
        ({"memory_stats": {"usage": 10, "limit": 20, "stats": {"total_inactive_file": 40, "inactive_file": 5}}}, (0.0, 5.0, 25.0)),
        ({"cpu_stats": {"cpu_usage": {"total_usage": 1, "percpu_usage": [1, 1]}, "system_cpu_usage": 4}}, (50.0, 0.0, 0.0)),
    ],
)  # fmt: skip
def test_what_a_sample_says(sample_: dict[str, Any], expected: tuple[float, float, float]) -> None:
    usage = Usage(sample_)
    assert (usage.cpu, usage.memory, usage.memory_share) == expected


def test_a_table_again_and_again_until_what_was_named_ends(daemon: FakeDaemon, start_cli: Any) -> None:
    ends = threading.Event()
    streaming(daemon, WEB, "web", ends)
    process = start_cli("stats", "web")
    time.sleep(1.6)
    ends.set()
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, b"")
    tables = output.decode().split("\033[H")[1:]
    assert len(tables) >= 2
    assert all(
        table.startswith("CONTAINER ID   NAME      CPU %") and table.endswith("\033[J") for table in tables
    )
    shares = [re.search(r"web +([\d.]+)%", table) for table in tables]
    found = [float(share[1]) for share in shares if share]
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_containers_come_and_go(daemon: FakeDaemon, start_cli: Any) -> None:
    ends, begin = threading.Event(), threading.Event()
    streaming(daemon, WEB, "web", ends)
    streaming(daemon, JOB, "job", ends)
    daemon.answer("GET /containers/json", [{"Id": WEB, "Names": ["/web"]}])

    def events(_request: Request, answer: Exchange) -> None:
        answer.begin()
        answer.chunk(json.dumps({"Action": "start", "Actor": {"ID": JOB}}).encode() + b"\n")
        begin.wait(20)
        answer.chunk(json.dumps({"Action": "die", "Actor": {"ID": WEB}}).encode() + b"\n")
        ends.wait(20)

    daemon.route("GET /events", events)
    process = start_cli("stats", "--format", "{{.Name}} {{.PIDs}}")
    seen = b""
    deadline = time.monotonic() + 20
    while not {b"web 3", b"job 3"} <= set(seen.replace(b"\033[K", b"").replace(b"\033[H", b"").split(b"\n")):
        assert time.monotonic() < deadline, seen
        seen += os.read(process.stdout.fileno(), 4096)
    begin.set()
    while not re.search(rb"\033\[Hjob 3\033\[K\n\033\[J", seen):
        assert time.monotonic() < deadline, seen
        seen += os.read(process.stdout.fileno(), 4096)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    ends.set()


def test_charts_on_a_terminal(daemon: FakeDaemon) -> None:
    ends = threading.Event()
    streaming(daemon, WEB, "we\033[31mb", ends)
    daemon.route("GET /containers/web/stats", daemon._routes[0][2])
    ours, theirs = pty.openpty()
    variables = environment(BARQUE_HOST=daemon.url, TERM="xterm", COLUMNS="120", LINES="20")
    process = subprocess.Popen(
        [*BARQUE, "stats", "--chart", "web"], stdin=theirs, stdout=theirs, stderr=theirs, env=variables
    )
    os.close(theirs)
    shown, deadline = "", time.monotonic() + 20
    while not re.search("[▁▂▃▄▅▆▇█]{8}", shown):
        assert time.monotonic() < deadline, shown
        if select.select([ours], [], [], 0.2)[0]:
            shown += os.read(ours, 65536).decode("utf-8", "replace")
    ends.set()
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while os.read(ours, 65536):
            pass
    assert process.wait(20) == 0
    os.close(ours)
    assert "MEM USAGE / LIMIT" in shown
    assert "we\\x1b[31mb" in shown  # a name cannot write to the terminal
    assert "50MiB / 100MiB" in shown


def test_a_sparkline() -> None:
    assert sparkline([0, 50, 100, 200], 100, 6) == "  ▁▅██"
    assert sparkline([100] * 9, 100, 3) == "███"


def test_flags_that_do_not_go_together(cli: Any) -> None:
    for words in (["--chart", "--no-stream"], ["--chart", "--format", "json"]):
        done = cli("stats", *words)
        assert (done.returncode, done.stderr[:19]) == (1, b"conflicting options")
