"""A census of what can leak: taken before and after, equal or the test fails.

    with no_leaks(Scope(roots=[tmp_path])):
        ...

`Scope` says where to look. Restricted to `roots` and `cgroups` it may be used beside other work on the same host;
`Scope.host()` counts everything, which is what a machine that runs nothing else can afford.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from barque.testing import procfs

__all__ = ["SESSION_VARIABLE", "Census", "Leak", "Scope", "as_before", "no_leaks"]

# Set in the test runner's environment: finds what was started below it and has lost its parent since.
SESSION_VARIABLE = "BARQUE_TEST_SESSION"
_PAUSE = 0.05


class Leak(AssertionError):
    """Something is there that was not before, or is not that was."""


@dataclass(frozen=True)
class Scope:
    """Where to look.

    `roots`: directories; the directories in them count, and mounts on, below or out of them. `mounts_below`: the
    same, but mounts only. `cgroups`: names of cgroup
    directories below a hierarchy's top. `nft_tables`: prefixes of table names. `links`: count network interfaces.
    `fds_of`: processes whose descriptors count. `everything`: all mounts, cgroups, links, tables of this host.
    Processes are always counted: those below this process or marked by `SESSION_VARIABLE`, zombies too.
    """

    roots: Sequence[str | Path] = ()
    mounts_below: Sequence[str | Path] = ()
    cgroups: Sequence[str] = ()
    nft_tables: Sequence[str] = ()
    links: bool = False
    fds_of: Sequence[int] = ()
    everything: bool = False

    @classmethod
    def host(cls, roots: Sequence[str | Path] = ()) -> Scope:
        """Everything, and the directories below `roots`."""
        return cls(roots=roots, links=True, everything=True)


@dataclass(frozen=True)
class Census:
    """What was found: kind -> one readable line each."""

    found: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def take(cls, scope: Scope) -> Census:
        """Count now."""
        roots = tuple(os.path.realpath(root) for root in scope.roots)
        mount_roots = (*roots, *(os.path.realpath(root) for root in scope.mounts_below))
        found = {
            "process": _processes(),
            "mount": frozenset(_mounts(mount_roots, everything=scope.everything)),
            "cgroup": frozenset(_cgroups(scope)),
            "link": frozenset(os.listdir("/sys/class/net")) if scope.links else frozenset(),
            "nft": frozenset(_nft(scope)),
            "directory": frozenset(path for root in roots for path, _, _ in os.walk(root)),
            "fd": frozenset(line for pid in scope.fds_of for line in procfs.descriptors(pid)),
        }
        return cls(found)

    def difference(self, later: Census) -> str:
        """One line for each thing that came (+) or went (-); empty when nothing did."""
        lines = []
        for kind, before in self.found.items():
            after = later.found[kind]
            lines += [f"+ {kind} {item}" for item in sorted(after - before)]
            lines += [f"- {kind} {item}" for item in sorted(before - after)]
        return "\n".join(lines)


@contextmanager
def no_leaks(scope: Scope, patience: float = 5.0) -> Iterator[Census]:
    """Raise `Leak` when the census after the block is not the one before it; looked at for `patience` seconds."""
    before = Census.take(scope)
    yield before
    as_before(before, scope, patience)


def as_before(before: Census, scope: Scope, patience: float = 5.0) -> None:
    """Raise `Leak` when the census is not `before`; looked at for `patience` seconds."""
    deadline = time.monotonic() + patience
    while difference := before.difference(Census.take(scope)):
        if time.monotonic() > deadline:
            raise Leak(f"not as before:\n{difference}")
        time.sleep(_PAUSE)


def _processes() -> frozenset[str]:
    own = procfs.descendants(os.getpid())
    session = os.environ.get(SESSION_VARIABLE)
    marked = procfs.with_environment(SESSION_VARIABLE, session) if session else set()
    lines = (procfs.describe(pid) for pid in own | marked - {os.getpid()})
    return frozenset(line for line in lines if line)


def _mounts(roots: tuple[str, ...], *, everything: bool) -> Iterator[str]:
    for mount in procfs.mounts():
        if everything or any(
            root in path for root in roots for path in (mount.point, mount.source, mount.options)
        ):
            yield f"{mount.point} ({mount.kind} from {mount.source})"


def _cgroups(scope: Scope) -> Iterator[str]:
    for mount in procfs.mounts():
        if mount.kind not in ("cgroup", "cgroup2"):
            continue
        tops = (
            [mount.point]
            if scope.everything
            else [f"{mount.point}/{name.strip('/')}" for name in scope.cgroups]
        )
        for top in tops:
            yield from (path for path, _, _ in os.walk(top))


def _nft(scope: Scope) -> Iterator[str]:
    """Lines of the ruleset without counters, each with its table before it."""
    if not (scope.everything or scope.nft_tables):
        return
    rules = subprocess.run(
        ["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True
    ).stdout
    table = ""
    for line in rules.splitlines():
        if line.startswith("table "):
            table = line.removesuffix(" {")
        if scope.everything or table.split()[-1].startswith(tuple(scope.nft_tables)):
            yield f"{table}: {line.strip()}"
