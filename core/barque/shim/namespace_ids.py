"""Which users and groups exist in this process's user namespace: all of the host's, or a rootless engine's few."""

from __future__ import annotations

from barque.spi.errors import InvalidArgument

__all__ = ["check_exists", "groups_denied"]


def check_exists(uid: int, gid: int) -> None:
    """Errors: InvalidArgument when nobody could become that user and group here (user_namespaces(7))."""
    for kind, id, path in (("user", uid, "/proc/self/uid_map"), ("group", gid, "/proc/self/gid_map")):
        if not _mapped(id, path):
            raise InvalidArgument(
                f"{kind} {id} does not exist in the user namespace of this rootless engine, whose ids come from /etc/subuid and /etc/subgid",
                hint="give the engine's user a longer range there, and start the daemon again",
            )


def groups_denied() -> bool:
    """Whether setgroups(2) is forbidden: the price of a group map that was written without privileges."""
    try:
        with open("/proc/self/setgroups", "rb") as file:
            return file.read(8).strip() == b"deny"
    except FileNotFoundError:  # a kernel without user namespaces
        return False


def _mapped(id: int, path: str) -> bool:
    try:
        with open(path, "rb") as file:
            lines = file.read(65536).splitlines()
    except FileNotFoundError:
        return True
    ranges = [(int(first), int(count)) for first, _, count in (line.split() for line in lines)]
    return any(first <= id < first + count for first, count in ranges)
