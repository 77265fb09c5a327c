"""What the engine's own stand-alone modules print (`python -m barque.profiles`, `python -m barque.plugins`).

The command line imports nothing of the engine, so it asks these in a process of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys

from barque.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ask"]

_PATIENCE = 60


def ask(module: str, *arguments: str, patience: float | None = _PATIENCE) -> Any:
    """The JSON that `python -m MODULE ARGUMENTS --json` prints, within `patience` seconds (None: whenever).

    Raises CliError with the module's own message.
    """
    command = [sys.executable, "-P", "-m", module, *arguments, "--json"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=patience, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CliError(f"{module} did not answer: {error}") from error
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise CliError(f"{module} ended with status {done.returncode} and no answer") from None
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        failure = answer["error"]
        raise CliError(str(failure.get("message", "unknown error")), hint=str(failure.get("hint") or ""))
    return answer
