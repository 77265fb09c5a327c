"""How the tests run `barque`: this interpreter, an environment without the caller's settings."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import barque

CORE = str(Path(barque.__file__).parent.parent)
BARQUE = (
    sys.executable,
    "-W",
    "error",
    "-c",
    "import sys; from barque.cli.main import main; sys.argv[0] = 'barque'; sys.exit(main())",
)


def run_here(
    arguments: tuple[str, ...], variables: dict[str, str], stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run `barque` in this process, which takes a fraction of the time that an interpreter's start does."""
    from barque.cli.main import run

    streams = [
        io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape", write_through=True) for _ in range(2)
    ]
    given = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    with (
        mock.patch.dict(os.environ, variables, clear=True),
        mock.patch.multiple(sys, stdin=given, stdout=streams[0], stderr=streams[1]),
    ):
        time.tzset()
        code = run(arguments)
    time.tzset()
    out, err = (stream.buffer.getvalue() for stream in streams)  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(arguments, code, out, err)


def environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "BARQUE_", "_BARQUE"))}
    return {
        **kept,
        "PYTHONPATH": CORE,
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "DOCKER_CONFIG": "/nonexistent",
        "BARQUE_CONFIG": "/nonexistent",
        **extra,
    }
