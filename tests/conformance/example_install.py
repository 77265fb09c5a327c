"""Installs a distribution of `examples/` as its reader would, without a network, beside the Barque under test."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from barque.testing import need

__all__ = ["EXAMPLES", "install_example"]

EXAMPLES = Path(__file__).parents[2] / "examples"


def install_example(name: str, target: Path) -> dict[str, str]:
    """Install `examples/NAME` into the directory `target`: the environment in which Python and `barque` find it."""
    for module in ("pip", "hatchling"):
        if importlib.util.find_spec(module) is None:
            need.unavailable(f"needs the Python module {module}")
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *offline,
        "--target",
        str(target),
        str(EXAMPLES / name),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    paths = (str(target), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
