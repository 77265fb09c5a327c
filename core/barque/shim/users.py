"""Who `--user` is: a container's passwd and group files, read as an attacker's.

Used by the shim once the root file system is mounted, and by the daemon for execs (through /proc/PID/root). Bounded
in size and time, never through a symlink that leaves the root, never from anything but a regular file (rows S10, S11).
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from barque.shim.namespace_ids import check_exists, groups_denied
from barque.spi.errors import InvalidArgument, NotFound

__all__ = ["ResolvedUser", "resolve_user"]

_LIMIT = 4 << 20
_MAX_ID = 2**32 - 2  # 2**32 - 1 is "no change" to setuid(2) and friends
_SYS_OPENAT2 = 437
_RESOLVE_IN_ROOT, _RESOLVE_NO_MAGICLINKS = 0x10, 0x02


@dataclass(frozen=True, slots=True)
class ResolvedUser:
    """Numeric identity; `home` is the passwd entry's, "/" without one."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def resolve_user(root: int, user: str, group_add: Sequence[str] = ()) -> ResolvedUser:
    """Resolve `user` (`name`, `uid`, `name:group`, `uid:gid`; "" is root) below the directory descriptor `root`.

    A number is that number, even when a passwd entry's *name* looks like it. Errors: NotFound
    (`unable to find user x: no matching entries in passwd file`), InvalidArgument (out of range).
    """
    name, _, group = (user or "0").partition(":")
    wanted = _number(name, "uid")
    entry = _passwd_entry(root, name, wanted)
    if entry is None and wanted is None:
        raise NotFound(
            f"unable to find user {name}: no matching entries in passwd file",
            hint="use a name of the image's /etc/passwd, or a number",
            exit_code=125,
        )
    uid = entry[1] if entry else wanted or 0
    gid = entry[2] if entry else 0
    login = entry[0] if entry else ""
    groups = list(_groups(root))
    supplementary = [g for _, g, members in groups if login and login in members] if not group else []
    if group:
        gid = _group_id(groups, group)
    supplementary += [_group_id(groups, extra) for extra in group_add]
    # the primary group is among them, so that a program cannot drop it to pass a deny-by-group (CVE-2022-36109)
    unique = () if groups_denied() else tuple(dict.fromkeys((gid, *supplementary)))
    check_exists(uid, gid)
    return ResolvedUser(uid, gid, unique, (entry[3] if entry else "") or "/")


def _number(text: str, field: str) -> int | None:
    """`text` as an id, None when it is a name. Errors: InvalidArgument when it is a number that is no id."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    value = int(text) if len(digits) < 20 else -1
    if not 0 <= value <= _MAX_ID:
        raise InvalidArgument(
            f"{field} {text!r} is out of range: uids and gids must be in range 0-{_MAX_ID}",
            hint="choose a smaller number",
        )
    return value


def _passwd_entry(root: int, name: str, uid: int | None) -> tuple[str, int, int, str] | None:
    for fields in _lines(root, "etc/passwd", 7):
        entry_uid, entry_gid = _plain_id(fields[2]), _plain_id(fields[3])
        if entry_uid is None or entry_gid is None:
            continue
        if (entry_uid == uid) if uid is not None else (fields[0] == name):
            return fields[0], entry_uid, entry_gid, fields[5]
    return None


def _groups(root: int) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    for fields in _lines(root, "etc/group", 4):
        gid = _plain_id(fields[2])
        if gid is not None:
            yield fields[0], gid, tuple(fields[3].split(","))


def _plain_id(text: str) -> int | None:
    ok = text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_ID
    return int(text) if ok else None


def _group_id(groups: Sequence[tuple[str, int, tuple[str, ...]]], group: str) -> int:
    number = _number(group, "gid")
    if number is not None:
        return number
    for name, gid, _ in groups:
        if name == group:
            return gid
    raise NotFound(
        f"unable to find group {group}: no matching entries in group file",
        hint="use a name of the image's /etc/group, or a number",
        exit_code=125,
    )


def _lines(root: int, path: str, fields: int) -> Iterator[list[str]]:
    for line in _read(root, path).splitlines():
        parts = line.split(":")
        if len(parts) >= fields and not line.startswith("#"):
            yield parts


def _read(root: int, path: str) -> str:
    """The regular file `path` below `root`, at most 4 MiB of it; "" when there is none."""
    how = _OpenHow(
        os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS
    )
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    fd = int(syscall(ctypes.c_long(_SYS_OPENAT2), root, path.encode(), ctypes.byref(how), ctypes.sizeof(how)))
    if fd < 0:
        return ""
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return ""
        if info.st_size > _LIMIT:
            raise InvalidArgument(
                f"/{path} of the image is larger than 4 MiB", hint="use a numeric user, or repair the image"
            )
        chunks, left = [], _LIMIT
        while left > 0 and (chunk := os.read(fd, min(left, 1 << 16))):
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks).decode("utf-8", "replace")
    finally:
        os.close(fd)
