"""Container names: the rule, names for those who give none, and who has which."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Container

from barque.spi.errors import Conflict, InvalidArgument

__all__ = ["NameTable", "check_name", "random_name"]

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_ADJECTIVES = (
    "amber ample azure brave brisk calm clever coral crisp dapper eager early fair fleet gentle glad golden hardy honest "
    "jolly keen kind lively lucid mellow merry mild nimble noble placid plucky proud quick quiet rapid ready robust "
    "serene sharp silver snug sober steady stout sunny swift tidy trim vivid warm wise witty"
).split()
_SHIPS = (
    "argosy barge bark brig caravel carrack catboat clipper cog corvette curragh cutter dhow dinghy dory felucca ferry "
    "frigate galleon galley gondola hoy junk kayak ketch knarr lateen launch lugger packet pinnace pirogue pram punt raft "
    "sampan schooner scow shallop skiff sloop smack tartane tender trawler tug umiak wherry xebec yacht yawl"
).split()


def check_name(name: str) -> str:
    """The name less Docker's leading slash. Errors: InvalidArgument."""
    bare = name.removeprefix("/")
    if not _NAME.fullmatch(bare):
        raise InvalidArgument(f"Invalid container name ({bare}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return bare


def random_name(taken: Container[str]) -> str:
    """An adjective and a vessel, not taken."""
    while True:
        name = f"{secrets.choice(_ADJECTIVES)}_{secrets.choice(_SHIPS)}"
        if name not in taken:
            return name
        name = f"{name}{secrets.randbelow(10000)}"
        if name not in taken:
            return name


class NameTable:
    """Which container has which name. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}

    def owner(self, name: str) -> str:
        """The id of the container called `name`, empty when there is none."""
        return self._names.get(name, "")

    def owners(self) -> tuple[str, ...]:
        """All ids that have a name; also of containers that are only being made."""
        with self._lock:
            return tuple(self._names.values())

    def take(self, name: str, id: str) -> None:
        """At the daemon's start: `id` has this name already."""
        with self._lock:
            self._names[name] = id

    def reserve(self, name: str | None, id: str) -> str:
        """Take a name (None: any) for the container `id`. Errors: Conflict, InvalidArgument, in Docker's words."""
        with self._lock:
            chosen = check_name(name) if name else random_name(self._names)
            owner = self._names.get(chosen)
            if owner is not None:
                raise Conflict(
                    f'Conflict. The container name "/{chosen}" is already in use by container "{owner}". '
                    "You have to remove (or rename) that container to be able to reuse that name."
                )
            self._names[chosen] = id
            return chosen

    def release(self, name: str, id: str) -> None:
        """Give a name back; nothing when it is another's. Idempotent."""
        with self._lock:
            if self._names.get(name) == id:
                del self._names[name]
