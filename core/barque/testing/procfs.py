"""What /proc tells about processes, their descriptors and this process's mounts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

__all__ = [
    "Mounted",
    "descendants",
    "describe",
    "descriptors",
    "has_ended",
    "mounts",
    "pids",
    "with_environment",
]

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mounted:
    """A line of mountinfo (proc(5)): mount point, filesystem type, source, and the super block's options."""

    point: str
    kind: str
    source: str
    options: str


def mounts() -> list[Mounted]:
    """The mounts of this process's namespace."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            head, _, tail = line.partition(" - ")
            kind, source, options = [*tail.split(), "", ""][:3]
            found.append(Mounted(_unescape(head.split()[4]), kind, _unescape(source), _unescape(options)))
    return found


def pids() -> list[int]:
    """All processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(pid: int) -> set[int]:
    """The processes below `pid`, zombies too."""
    children: dict[int, list[int]] = {}
    for other in pids():
        fields = _stat(other)
        if fields:
            children.setdefault(int(fields[1]), []).append(other)
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting += below
    return found


def with_environment(name: str, value: str) -> set[int]:
    """The processes that were started with this variable."""
    wanted = f"{name}={value}".encode()
    found = set()
    for pid in pids():
        with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if wanted in file.read().split(b"\0"):
                found.add(pid)
    return found


def describe(pid: int) -> str:
    """`PID@START command line`; empty when it has ended."""
    fields = _stat(pid)
    if not fields:
        return ""
    command = b""
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        command = file.read(300)
    text = command.replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return f"{pid}@{fields[19]} {'zombie' if fields[0] == 'Z' else text or '[no command line]'}"


def has_ended(pid: int) -> bool:
    """Whether there is no such process, or a zombie only."""
    return _stat(pid)[:1] in ([], ["Z"])


def descriptors(pid: int) -> Iterator[str]:
    """`pid N -> target` of each open descriptor."""
    with suppress(FileNotFoundError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                yield f"{pid} {name} -> {os.readlink(f'/proc/{pid}/fd/{name}')}"


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (state, ppid, …; start time is the 20th); empty when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
