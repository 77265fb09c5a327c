"""Places where a test may break the engine: `BARQUE_FAILPOINT=name:kill|error|delay[,…]`.

`hit(name)` stands where a crash would hurt most. Without the variable it costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
import time

from barque.spi.errors import Unavailable

__all__ = ["hit"]


def _parse(text: str) -> dict[str, str]:
    return dict(part.partition(":")[::2] for part in text.split(",") if part)


_ACTIVE = _parse(os.environ.get("BARQUE_FAILPOINT", ""))


def hit(name: str) -> None:
    """Do here what the environment asks for."""
    action = _ACTIVE.get(name)
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "error":
        raise Unavailable(f"failpoint {name}")
    elif action == "delay":
        time.sleep(1)
