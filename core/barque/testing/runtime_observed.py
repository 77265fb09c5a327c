"""A process as the host sees it, through /proc (proc(5)): what a container is, without a shell in it.

The process must be one that waits; each attribute is read when it is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MountLine", "Observed"]

_ROOT_IS_FAR = "../" * 64


@dataclass(frozen=True, slots=True)
class MountLine:
    """A line of a process's mountinfo."""

    point: str
    options: frozenset[str]
    propagation: frozenset[str]
    kind: str
    super_options: frozenset[str]


class Observed:
    """Process `pid`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def path(self, name: str) -> str:
        """A path as the process would look it up, through its mounts; links in it are the observer's."""
        return f"/proc/{self.pid}/root{name}"

    def read(self, name: str) -> str:
        """The content of /proc/PID/NAME."""
        return Path(f"/proc/{self.pid}/{name}").read_text()

    def status(self) -> Mapping[str, str]:
        """/proc/PID/status: `Uid`, `CapEff`, `Seccomp`, `Umask`, …"""
        lines = (line.partition(":") for line in self.read("status").splitlines())
        return {name: value.strip() for name, _, value in lines}

    def namespace(self, name: str) -> str:
        """`net:[4026531840]`."""
        return os.readlink(f"/proc/{self.pid}/ns/{name}")

    def mounts(self) -> Mapping[str, MountLine]:
        """The mounts it sees, by mount point; of several at one point, the last."""
        found = {}
        for line in self.read("mountinfo").splitlines():
            head, _, tail = line.partition(" - ")
            fields, (kind, _, super_options) = head.split(), tail.split(" ", 2)
            found[fields[4]] = MountLine(
                fields[4],
                frozenset(fields[5].split(",")),
                frozenset(fields[6:]),
                kind,
                frozenset(super_options.split(",")),
            )
        return found

    def descriptors(self) -> Mapping[int, str]:
        """What its open descriptors are."""
        folder = f"/proc/{self.pid}/fd"
        return {int(name): os.readlink(f"{folder}/{name}") for name in os.listdir(folder)}

    def environment(self) -> set[str]:
        """The variables it was started with, `NAME=value`."""
        return set(filter(None, self.read("environ").split("\0")))

    def arguments(self) -> list[str]:
        """Its argv."""
        return self.read("cmdline").split("\0")[:-1]

    def limits(self) -> Mapping[str, tuple[str, str]]:
        """Soft and hard limit by name: `Max open files`."""
        rows = self.read("limits").splitlines()[1:]
        return {row[:26].strip(): (row[26:47].strip(), row[47:68].strip()) for row in rows}

    def is_below_its_root(self) -> bool:
        """Whether its working directory is in its root: going up from there ends at that root, and not at the host's."""
        top = os.stat(f"/proc/{self.pid}/cwd/{_ROOT_IS_FAR}")
        return os.path.samestat(top, os.stat(f"/proc/{self.pid}/root"))

    def processor_time(self) -> int:
        """Ticks it has used."""
        fields = self.read("stat").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
