"""What a test needs from the machine: skipped without it, failed without it where BARQUE_CI=1 promises that it is there."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

__all__ = ["root", "tool", "unavailable"]


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or fail it under BARQUE_CI=1. For what can be had: root, a tool from the distribution."""
    if os.environ.get("BARQUE_CI") == "1":
        pytest.fail(f"BARQUE_CI=1, but: {reason}", pytrace=False)
    pytest.skip(reason)


def root() -> None:
    """Only as root."""
    if os.geteuid() != 0:
        unavailable("needs root")


def tool(name: str) -> str:
    """The path of a program."""
    path = shutil.which(name)
    if path is None:
        unavailable(f"needs {name} (apt install {name})")
    return path
