"""A local file or directory as a tar, in pieces, for a daemon to unpack."""

from __future__ import annotations

import os
import stat
import sys
import tarfile
from collections.abc import Iterator

from barque.cli.errors import CliError

__all__ = ["tar_of"]

_PIECE = 256 * 1024
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CAPABILITY = "security.capability"
_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


def tar_of(path: str, name: str) -> Iterator[bytes]:
    """The tar of `path`, where it is called `name`. Links are kept as links, hard links too; sockets are left out. Raises CliError."""
    parts: list[bytes] = []
    size = 0
    try:
        for piece in _entries(path, name, {}):
            parts.append(piece)
            size += len(piece)
            if size >= _PIECE:
                yield b"".join(parts)
                parts, size = [], 0
    except OSError as error:
        place = os.fsdecode(error.filename) if error.filename else path
        raise CliError(f"reading {place}: {(error.strerror or '').lower()}") from None
    yield b"".join((*parts, bytes(2 * tarfile.BLOCKSIZE)))


def _entries(path: str, name: str, links: dict[tuple[int, int], str]) -> Iterator[bytes]:
    status = os.lstat(path)
    if stat.S_ISREG(status.st_mode):
        yield from _file(path, name, links)
        return
    info = _info(name, status)
    if info is None:
        return
    if stat.S_ISLNK(status.st_mode):
        info.linkname = os.readlink(path)
    yield _header(info)
    if stat.S_ISDIR(status.st_mode):
        for child in sorted(os.listdir(path)):
            try:
                yield from _entries(os.path.join(path, child), f"{name}/{child}", links)
            except FileNotFoundError:
                continue  # gone since it was listed


def _file(path: str, name: str, links: dict[tuple[int, int], str]) -> Iterator[bytes]:
    fd = os.open(path, _OPEN)
    try:
        status = os.fstat(fd)
        info = _info(name, status)
        if info is None or not stat.S_ISREG(status.st_mode):
            return  # not the file any more that was listed
        first = links.setdefault((status.st_dev, status.st_ino), name) if status.st_nlink > 1 else name
        if first != name:
            info.type, info.linkname = tarfile.LNKTYPE, first
            yield _header(info)
            return
        info.size = status.st_size
        _add_attributes(info, fd)
        yield _header(info)
        yield from _content(fd, status.st_size)
    finally:
        os.close(fd)


def _content(fd: int, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes, whatever the file has by now, and the padding."""
    left = size
    while left and (piece := os.read(fd, min(left, _PIECE))):
        left -= len(piece)
        yield piece
    while left:
        piece = bytes(min(left, _PIECE))
        left -= len(piece)
        yield piece
    yield bytes(-size % tarfile.BLOCKSIZE)


def _info(name: str, status: os.stat_result) -> tarfile.TarInfo | None:
    """The entry of a file; None for a socket."""
    kind = _TYPES.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        sys.stderr.write(f"{name}: a socket is left out\n")
        return None
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = stat.S_IMODE(status.st_mode)
    info.uid, info.gid = status.st_uid, status.st_gid
    seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
    info.mtime = max(seconds, 0)
    if nanoseconds or seconds < 0:
        info.pax_headers = {"mtime": _decimal(status.st_mtime_ns)}
    if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    return info


def _decimal(ns: int) -> str:
    seconds, nanoseconds = divmod(abs(ns), 1_000_000_000)
    return f"{'-' if ns < 0 else ''}{seconds}.{nanoseconds:09}"


def _add_attributes(info: tarfile.TarInfo, fd: int) -> None:
    """File capabilities and the user's own attributes; the others speak to this host."""
    try:
        names = os.listxattr(fd)
    except OSError:
        return
    kept = [name for name in names if name == _CAPABILITY or name.startswith("user.")]
    values = {
        f"SCHILY.xattr.{name}": os.getxattr(fd, name).decode("utf-8", "surrogateescape") for name in kept
    }
    info.pax_headers = {**info.pax_headers, **values}


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
