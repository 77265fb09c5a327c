"""Who lives in the namespaces: what keeps a keeper waiting, and where a new one finds those of one that was killed."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from barque.engine.rootless import kernel
from barque.engine.rootless.inside import KINDS

__all__ = ["find_namespaces", "note_namespaces", "somebody_in"]


def somebody_in(user_namespace: int, but: Collection[int]) -> int | None:
    """A pidfd of some process in the user namespace with this descriptor, other than those in `but`; None when it is empty."""
    wanted = _name("user", os.fstat(user_namespace).st_ino)
    for pid in _pids():
        if pid in but or not _lives_in(pid, wanted):
            continue
        with suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            if _lives_in(pid, wanted):
                return fd
            os.close(fd)
    return None


def note_namespaces(path: Path, fds: Mapping[str, int]) -> None:
    """Write down which they are, for a keeper after this one. In the run directory, so a reboot forgets it."""
    path.write_text(json.dumps({name: os.fstat(fd).st_ino for name, fd in fds.items()}))


def find_namespaces(path: Path) -> dict[str, int] | None:
    """Descriptors of the noted namespaces if a process of ours lives in all of them, else None."""
    try:
        noted = {name: _name(name, int(json.loads(path.read_text())[name])) for name in KINDS}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    for pid in _pids():
        if all(_is_in(pid, name, wanted) for name, wanted in noted.items()):
            fds = _open(pid)
            if fds is not None:
                return fds
    return None


def _open(pid: int) -> dict[str, int] | None:
    fds: dict[str, int] = {}
    with suppress(OSError):
        for name in KINDS:
            fds[name] = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        if kernel.namespace_owner(fds["user"]) == os.geteuid():
            return fds
    for fd in fds.values():
        os.close(fd)
    return None


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _lives_in(pid: int, user_namespace: str) -> bool:
    """A zombie keeps its user namespace, but no other."""
    return _is_in(pid, "user", user_namespace) and _has_mounts(pid)


def _has_mounts(pid: int) -> bool:
    try:
        return bool(os.readlink(f"/proc/{pid}/ns/mnt"))
    except OSError:
        return False


def _is_in(pid: int, name: str, wanted: str) -> bool:
    """False also for processes of others, whose namespaces are not ours to see, and for zombies."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{name}") == wanted
    except OSError:
        return False


def _name(name: str, inode: int) -> str:
    return f"{name}:[{inode}]"
