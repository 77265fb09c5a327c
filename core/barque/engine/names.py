"""Container names: the rule, and names for those who give none."""

from __future__ import annotations

import re
import secrets
from collections.abc import Container

from barque.spi.errors import InvalidArgument

__all__ = ["check_name", "random_name"]

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
