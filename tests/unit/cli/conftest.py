"""What the command line's tests share: a fake daemon, and running `barque` against it."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_fake_daemon import FakeDaemon
from cli_program import BARQUE, environment, run_here


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path / "d.sock")
    yield fake
    fake.close()


Cli = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def cli(daemon: FakeDaemon) -> Cli:
    """Run `barque` with these arguments against the fake daemon; `stdin` bytes, or none."""

    def run(*arguments: str, stdin: bytes = b"", **extra: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*BARQUE, *arguments],
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
            env=environment(BARQUE_HOST=daemon.url, **extra),
        )

    return run


@pytest.fixture
def quick(daemon: FakeDaemon) -> Cli:
    """As `cli`, but in the test's own process: for the many cases of one kind."""

    def run(*arguments: str, stdin: bytes = b"", **extra: str) -> subprocess.CompletedProcess[bytes]:
        return run_here(arguments, environment(BARQUE_HOST=daemon.url, **extra), stdin)

    return run


@pytest.fixture
def start_cli(daemon: FakeDaemon) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """As `cli`, but running: for signals and streams. What is left of it is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "preexec_fn": _heed_signals,
        }
        process = subprocess.Popen(
            [*BARQUE, *arguments], env=environment(BARQUE_HOST=daemon.url), **{**pipes, **options}
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _heed_signals() -> None:
    """A suite that runs under nohup, or in the background of a shell, hands its ignored signals down."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def docker(daemon: FakeDaemon, tmp_path: Path) -> Cli:
    """Run the real docker client against the fake daemon."""
    program = shutil.which("docker")
    if program is None:
        pytest.skip("the docker command line is not installed")

    def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [program, *arguments],
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
            env=environment(DOCKER_HOST=daemon.url, DOCKER_CONFIG=str(tmp_path / "docker")),
        )

    return run
