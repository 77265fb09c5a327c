"""How the tests run `barque`: this interpreter, an environment without the caller's settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import barque

CORE = str(Path(barque.__file__).parent.parent)
BARQUE = (
    sys.executable,
    "-W",
    "error",
    "-c",
    "import sys; from barque.cli.main import main; sys.argv[0] = 'barque'; sys.exit(main())",
)


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
