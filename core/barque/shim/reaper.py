"""Collects ended children: the container's init, execs, and orphans the subreaper inherited."""

from __future__ import annotations

import os

__all__ = ["reap"]


def reap() -> list[tuple[int, int]]:
    """(pid, exit code) of every child that has ended; the code is 128 + N for signal N. Never waits."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        code = os.waitstatus_to_exitcode(status)
        ended.append((pid, code if code >= 0 else 128 - code))
