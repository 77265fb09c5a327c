"""Write a tree as one layer tar: same tree, same bytes, on any machine and day."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from barque_image_deb.tree import Content, Entry

__all__ = ["WrittenLayer", "write_layer"]

_CHUNK = 1 << 20
_BLOCK = 512
_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


@dataclass(frozen=True, slots=True)
class WrittenLayer:
    """Digest (also the diff id: the layer is not compressed) and size in bytes."""

    digest: str
    size: int


def write_layer(entries: Iterable[Entry], target: Path) -> WrittenLayer:
    """Write `entries` (parents first) as a pax tar at `target` and sync it."""
    with target.open("wb") as file:
        writer = _Writer(file)
        for entry in entries:
            writer.add(entry)
        return writer.finish()


class _Writer:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._size = 0
        self._first: dict[tuple[Path, int], str] = {}
        self._spools: dict[Path, BinaryIO] = {}
        self._stack = ExitStack()

    def add(self, entry: Entry) -> None:
        info = tarfile.TarInfo(entry.path)
        info.type = _TYPES[stat.S_IFMT(entry.mode)]
        info.mode = stat.S_IMODE(entry.mode)
        info.uid, info.gid, info.mtime = entry.uid, entry.gid, entry.mtime
        info.linkname = entry.link
        info.devmajor, info.devminor = entry.device
        content = entry.content
        first = self._hard_link(entry)
        if first is not None:
            info.type, info.linkname, content = tarfile.LNKTYPE, first, None
        info.size = content.size if content is not None else 0
        self._write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        if content is not None:
            self._copy(content)

    def finish(self) -> WrittenLayer:
        """Write the end of the archive: two empty blocks."""
        self._write(bytes(2 * _BLOCK))
        self._stack.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        return WrittenLayer(f"sha256:{self._hash.hexdigest()}", self._size)

    def _hard_link(self, entry: Entry) -> str | None:
        """The path that carries the content of this entry's inode already."""
        if entry.content is None or entry.content.spool is None:
            return None
        first = self._first.setdefault((entry.content.spool, entry.content.offset), entry.path)
        return None if first == entry.path else first

    def _copy(self, content: Content) -> None:
        if content.spool is None:
            self._write(content.data)
        else:
            spool = self._open(content.spool)
            spool.seek(content.offset)
            left = content.size
            while left:
                data = spool.read(min(left, _CHUNK))
                if not data:
                    raise EOFError(f"{content.spool.name} ends within a file")
                self._write(data)
                left -= len(data)
        self._write(bytes(-content.size % _BLOCK))

    def _open(self, path: Path) -> BinaryIO:
        if path not in self._spools:
            self._spools[path] = self._stack.enter_context(path.open("rb"))
        return self._spools[path]

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)
