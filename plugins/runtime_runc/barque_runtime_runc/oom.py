"""The oom score of an exec: the container's, which runc gives to init only."""

from __future__ import annotations

__all__ = ["inherit_score"]


def inherit_score(pid: int, init: int) -> None:
    """Give `pid` the oom_score_adj of `init` when its own is lower, that is, when it is the better protected of the two."""
    try:
        wanted = _score(init)
        if _score(pid) < wanted:
            with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
                file.write(str(wanted))
    except (OSError, ValueError):
        return  # one of the two has ended: nothing is left to protect


def _score(pid: int) -> int:
    with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as file:
        return int(file.read(16))
