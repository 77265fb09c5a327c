"""What a common command may import, and how long it may take."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
from cli_fake_daemon import FakeDaemon
from cli_program import environment

# Each costs more than the rest of a command together.
HEAVY = {"typing", "typer", "click", "rich", "http", "http.client", "email", "ssl", "dataclasses", "inspect", "argparse",
         "subprocess", "asyncio", "pydantic", "logging", "urllib", "pathlib", "difflib"}  # fmt: skip

PROBE = """
import sys
sys.argv[0] = "barque"
from barque.cli.main import main
code = main()
sys.stdout.flush()
print(*sorted(sys.modules), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "arguments",
    [("version",), ("ps",), ("ps", "--format", "{{.ID}}"), ("images",), ("run", "-d", "-e", "A=1", "-p", "80", "img"),
     ("exec", "-d", "web", "true"), ("logs", "web"), ("inspect", "web"), ("stop", "web")],
    ids=str,
)  # fmt: skip
def test_common_commands_import_nothing_heavy(daemon: FakeDaemon, arguments: tuple[str, ...]) -> None:
    daemon.answer("GET /version", {"Version": "1"})
    daemon.answer("GET /(containers|images)/json", [])
    daemon.answer("GET /containers/web/json", {"Config": {"Tty": True}})
    daemon.answer("POST /containers/(create|web/exec)", {"Id": "c" * 64}, 201)
    daemon.no_content("POST /containers/.*/(start|stop)")
    daemon.answer("POST /exec/.*/start", {})
    daemon.route(
        "GET /containers/web/logs", lambda _r, a: a.send(200, b"", "application/vnd.docker.raw-stream")
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROBE, *arguments],
        capture_output=True,
        text=True,
        env=environment(BARQUE_HOST=daemon.url),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stderr.split())


def test_version_is_within_its_budget(daemon: FakeDaemon, cli: Any) -> None:
    """60 ms where a bare interpreter takes 12; a ratio, because machines and their load differ."""
    daemon.answer("GET /version", {"Version": "1"})
    cli("version")

    def fastest(command: list[str]) -> float:
        times = []
        for _ in range(7):
            began = time.perf_counter()
            subprocess.run(command, capture_output=True, env=environment(BARQUE_HOST=daemon.url), check=True)
            times.append(time.perf_counter() - began)
        return min(times)

    code = "import sys; from barque.cli.main import main; sys.argv[0] = 'barque'; sys.exit(main())"
    bare = fastest([sys.executable, "-c", "pass"])
    assert fastest([sys.executable, "-c", code, "version"]) < 5 * bare + 0.01
