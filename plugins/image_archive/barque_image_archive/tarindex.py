"""Where the members of a tar lie: headers read by position, payloads never.

Names are keys of a table and nothing else: no member is ever extracted, so `..`, absolute names and links lead nowhere
but to other members. Of duplicates the last counts, as for whoever would extract the tar.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from barque.spi.errors import InvalidArgument, NotFound
from barque.spi.trees.header import BLOCK, ZERO_BLOCK, Entry, parse_header, show
from barque.spi.trees.pax import Records, apply_records, parse_records

__all__ = ["Member", "TarIndex", "clean"]

_MOST_MEMBERS = 65_536
_MOST_NAME_BYTES = 8 << 20
_LARGEST_EXTENSION = 1 << 20
_MOST_LINKS = 4
_REGULAR, _HARD_LINK, _SYMBOLIC_LINK, _OLD_SPARSE = ord("0"), ord("1"), ord("2"), ord("S")
_PLAIN_FILES = frozenset((_REGULAR, ord("7")))
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"LKxg"


@dataclass(frozen=True, slots=True)
class Member:
    """A member: its type, where its data begin and how many they are, and what a link names."""

    type: int
    offset: int
    size: int
    link: str = ""


class TarIndex:
    """The members of the tar in `fd`, which stays the caller's. Errors: InvalidArgument (no tar, cut off, or too many members)."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._length = os.fstat(fd).st_size
        self._members: dict[str, Member] = {}
        names = 0
        for count, (entry, offset) in enumerate(self._entries()):
            names += len(entry.name) + len(entry.linkname)
            if count >= _MOST_MEMBERS or names > _MOST_NAME_BYTES:
                raise InvalidArgument("the archive has too many members", hint="no image archive has so many")
            link = _text(entry.linkname) if entry.type in (_HARD_LINK, _SYMBOLIC_LINK) else ""
            self._members[clean(_text(entry.name))] = Member(entry.type, offset, entry.size, link)

    def __contains__(self, name: str) -> bool:
        return clean(name) in self._members

    def find(self, name: str) -> Member:
        """The regular member, following links between members a few steps. Errors: NotFound, InvalidArgument."""
        key = clean(name)
        for _ in range(_MOST_LINKS + 1):
            member = self._members.get(key)
            if member is None:
                raise NotFound(f"the archive has no {show(key.encode(errors='surrogateescape'))}")
            if member.type in _PLAIN_FILES:
                return member
            if member.type == _SYMBOLIC_LINK:
                key = clean(f"{key.rpartition('/')[0]}/{member.link}")
            elif member.type == _HARD_LINK:
                key = clean(member.link)
            else:
                break
        raise InvalidArgument(
            f"{show(name.encode(errors='surrogateescape'))} of the archive is no regular file"
        )

    def _entries(self) -> Iterator[tuple[Entry, int]]:
        """Each member with the position of its data, its extended headers applied."""
        position = 0
        records: Records = {}
        long_name = long_link = b""
        while position < self._length:
            block = self._read(position, BLOCK)
            if block == ZERO_BLOCK:
                return
            entry = parse_header(block)
            position += BLOCK
            if entry.type in (_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK):
                data = self._extension(entry, position)
                if entry.type == _PAX:
                    records = parse_records(data, entry.name)
                elif entry.type == _LONG_NAME:
                    long_name = data.partition(b"\0")[0]
                elif entry.type == _LONG_LINK:
                    long_link = data.partition(b"\0")[0]
            else:
                apply_records(entry, records)
                entry.name, entry.linkname = long_name or entry.name, long_link or entry.linkname
                self._check(entry, records, position)
                yield entry, position
                records, long_name, long_link = {}, b"", b""
            position += entry.size + -entry.size % BLOCK

    def _extension(self, entry: Entry, position: int) -> bytes:
        if entry.size > _LARGEST_EXTENSION:
            raise InvalidArgument(f"the archive has an extended header of {entry.size} bytes")
        return self._read(position, entry.size)

    def _check(self, entry: Entry, records: Records, position: int) -> None:
        if entry.type == _OLD_SPARSE or any(key.startswith(b"GNU.sparse.") for key in records):
            raise InvalidArgument(f"{show(entry.name)} of the archive is stored as a sparse file")
        if position + entry.size > self._length:
            raise InvalidArgument(f"the archive ends inside {show(entry.name)}")

    def _read(self, position: int, count: int) -> bytes:
        data = os.pread(self._fd, count, position)
        if len(data) != count:
            raise InvalidArgument("the archive ends in the middle of a header")
        return data


def clean(name: str) -> str:
    """A member's name without `.`, `..` and superfluous slashes."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
