"""The merged file tree of several packages, with /bin, /sbin and /lib* merged into /usr as on every Debian since 12."""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from barque.spi.errors import InvalidArgument

__all__ = ["Content", "Entry", "Tree", "read_data_tar"]

_ALWAYS_MERGED = ("bin", "sbin", "lib")
# Since trixie the packages ship /usr/lib64 and base-files, which a set may lack, the link to it.
_MERGED = (*_ALWAYS_MERGED, "lib32", "lib64", "libo32", "libx32")
_TYPES = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.AREGTYPE: stat.S_IFREG,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes of a regular file: `data`, or `size` bytes at `offset` of the file `spool`.

    Two entries with the same spool and offset are one inode.
    """

    size: int
    data: bytes = b""
    spool: Path | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One inode's name. `mode` with the file type bits; `path` relative, without `./`; `owner` the package it came from."""

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    link: str = ""
    device: tuple[int, int] = (0, 0)
    content: Content | None = None
    owner: str = ""

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


def read_data_tar(spool: Path, owner: str) -> Iterator[Entry]:
    """The entries of an uncompressed data tar, hard links resolved to the content they share."""
    contents: dict[str, Entry] = {}
    # The encoding is tarfile's choice by locale otherwise, and the layer's bytes would follow it.
    with tarfile.open(spool, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
        for info in archive:
            path = _clean(info.name, owner)
            if info.islnk():
                target = contents.get(_clean(info.linkname, owner))
                if target is None:
                    raise InvalidArgument(
                        f"package {owner}: hard link {path!r} to {info.linkname!r}, which comes later or never"
                    )
                yield replace(target, path=path)
                continue
            if info.type not in _TYPES:
                raise InvalidArgument(f"package {owner}: {path!r} has the unknown tar type {info.type!r}")
            entry = Entry(
                path,
                _TYPES[info.type] | (info.mode & 0o7777),
                info.uid,
                info.gid,
                int(info.mtime),
                info.linkname if info.issym() else "",
                (info.devmajor, info.devminor) if info.isdev() else (0, 0),
                Content(info.size, spool=spool, offset=info.offset_data) if info.isreg() else None,
                owner,
            )
            if entry.content is not None:
                contents[path] = entry
            yield entry


class Tree:
    """Entries by path. Adding the packages in any order gives the same tree, or the same error."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._overrides: set[tuple[str, str]] = set()

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def __getitem__(self, path: str) -> Entry:
        return self._entries[path]

    def get(self, path: str) -> Entry | None:
        return self._entries.get(path)

    def below(self, prefix: str) -> list[str]:
        """Paths that start with `prefix`, in byte order."""
        return sorted(path for path in self._entries if path.startswith(prefix))

    def allow(self, package: str, replaced: str) -> None:
        """Files of `package` win over the same paths of `replaced`; its Replaces field says so."""
        self._overrides.add((package, replaced))

    def add(self, entry: Entry) -> None:
        """Add an entry of a package. InvalidArgument when two packages want different things at one path."""
        if not entry.path:
            return
        if entry.path in _MERGED and (
            entry.is_directory or (entry.is_link and entry.link.strip("/") == f"usr/{entry.path}")
        ):
            self._merge(entry.path)
            return
        entry = replace(entry, path=self._merged(entry.path))
        old = self._entries.get(entry.path)
        if old is not None and not self._wins(entry, old):
            return
        self._entries[entry.path] = entry

    def fill(self, entry: Entry) -> None:
        """Add an entry of ours where no package has one; parents that lack are made."""
        path = self._merged(entry.path)
        if path not in self._entries:
            self._entries[path] = replace(entry, path=path)

    def fill_over_empty(self, entry: Entry) -> None:
        """The same, also in the place of a directory that has nothing in it."""
        old = self._entries.get(entry.path)
        if old is not None and old.is_directory and not self.below(f"{entry.path}/"):
            del self._entries[entry.path]
        self.fill(entry)

    def finish(self, mtime: int) -> list[Entry]:
        """All entries, parents first, in byte order of their paths. Directories and what we made carry `mtime`."""
        for name in _MERGED:
            if name in _ALWAYS_MERGED or any(path.startswith(f"usr/{name}/") for path in self._entries):
                self._merge(name)
        for path in list(self._entries):
            self._add_parents(path)
        ordered = sorted(
            self._entries.values(), key=lambda entry: entry.path.encode("utf-8", "surrogateescape")
        )
        return [
            replace(entry, mtime=mtime) if entry.is_directory or not entry.owner else entry
            for entry in ordered
        ]

    def _merge(self, name: str) -> None:
        self._entries.setdefault(name, Entry(name, stat.S_IFLNK | 0o777, link=f"usr/{name}"))
        self._entries.setdefault(f"usr/{name}", Entry(f"usr/{name}", stat.S_IFDIR | 0o755))

    def _merged(self, path: str) -> str:
        head, slash, _ = path.partition("/")
        if head in _MERGED and slash:
            self._merge(head)
            return f"usr/{path}"
        return path

    def _add_parents(self, path: str) -> None:
        while (path := path.rpartition("/")[0]) != "":
            parent = self._entries.get(path)
            if parent is None:
                self._entries[path] = Entry(path, stat.S_IFDIR | 0o755)
            elif not parent.is_directory:
                raise InvalidArgument(
                    f"package {parent.owner or 'base'}: /{path} is not a directory, and other packages have files below it"
                )

    def _wins(self, new: Entry, old: Entry) -> bool:
        if new.is_directory and old.is_directory:
            # dpkg leaves an existing directory alone; by name, so that the order of unpacking does not show.
            return bool(new.owner) and (not old.owner or new.owner < old.owner)
        if new.is_link and old.is_link and new.link == old.link:
            return new.owner < old.owner
        if (new.owner, old.owner) in self._overrides:
            return True
        if (old.owner, new.owner) in self._overrides:
            return False
        raise InvalidArgument(f"packages {old.owner} and {new.owner} both have /{new.path}")


def _clean(name: str, owner: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise InvalidArgument(f"package {owner}: {name!r} leaves the root")
    return "/".join(parts)
