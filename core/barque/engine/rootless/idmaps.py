"""Which ids the user namespace has: the user's own as root, and his subordinate ones (subuid(5), subgid(5))."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from barque.spi.errors import FailedPrecondition

__all__ = ["IdMaps", "plan_maps", "subordinate", "write_maps"]

_SBIN = "/usr/local/bin:/usr/bin:/bin"
_RANGES = "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
_MOST_RANGES = 339  # the kernel takes 340 lines, and the first is the user himself

Range = tuple[int, int]
"""First id and how many."""


@dataclass(frozen=True, slots=True)
class IdMaps:
    """`uids` and `gids`: the subordinate ranges, empty where there are none. `warning` says what is lacking then."""

    uids: tuple[Range, ...] = ()
    gids: tuple[Range, ...] = ()
    warning: str = ""


def plan_maps(uid: int, subuid: str = "/etc/subuid", subgid: str = "/etc/subgid") -> IdMaps:
    """The maps that this user can have on this host."""
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = ""
    missing = [name for name in ("newuidmap", "newgidmap") if not shutil.which(name, path=_SBIN)]
    uids, gids = subordinate(subuid, user, uid), subordinate(subgid, user, uid)
    if uids and gids and not missing:
        return IdMaps(uids, gids)
    if missing:
        lacking, remedy = f"{' and '.join(missing)} not installed", "apt install uidmap"
    else:
        files = [path for path, ranges in ((subuid, uids), (subgid, gids)) if not ranges]
        lacking = f"no range for {user or uid} in {' and '.join(files)}"
        remedy = _RANGES.format(user=user or uid)
    return IdMaps(
        warning=f"only one user id: {lacking}; images with files of several owners are refused (as root: {remedy})"
    )


def subordinate(path: str, user: str, uid: int) -> tuple[Range, ...]:
    """The ranges that a file of lines `user:first:count` gives to the user, by name or by number."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    ranges = []
    for line in lines:
        name, _, numbers = line.strip().partition(":")
        first, _, count = numbers.partition(":")
        if name in (user, str(uid)) and name and _number(first) and _number(count) and int(count) > 0:
            ranges.append((int(first), int(count)))
    return tuple(ranges[:_MOST_RANGES])


def write_maps(pid: int, maps: IdMaps) -> None:
    """Map the user namespace of `pid`, a child of this process that waits. Errors: FailedPrecondition."""
    if not maps.uids:
        _write(pid, "setgroups", "deny")
        _write(pid, "uid_map", f"0 {os.geteuid()} 1\n")
        _write(pid, "gid_map", f"0 {os.getegid()} 1\n")
        return
    _helper("newuidmap", pid, os.geteuid(), maps.uids)
    _helper("newgidmap", pid, os.getegid(), maps.gids)


def _write(pid: int, name: str, text: str) -> None:
    try:
        Path(f"/proc/{pid}/{name}").write_text(text)
    except OSError as error:
        raise FailedPrecondition(f"cannot write /proc/{pid}/{name}: {error.strerror}") from error


def _helper(program: str, pid: int, own: int, ranges: tuple[Range, ...]) -> None:
    words = [shutil.which(program, path=_SBIN) or program, str(pid), "0", str(own), "1"]
    inside = 1
    for first, count in ranges:
        words += [str(inside), str(first), str(count)]
        inside += count
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise FailedPrecondition(
            f"{program} failed: {done.stderr.strip() or f'status {done.returncode}'}",
            hint=f"it must be setuid root (or have file capabilities), on a mount without nosuid: ls -l {words[0]}",
        )


def _number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 11
