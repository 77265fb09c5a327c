"""Unpacks a tar into a directory of a container whose programs may run meanwhile, and do their worst.

Every directory is a descriptor that openat2(2) resolved below the container's root; in it a last component is created
exclusively, never followed. What is in the way of an entry is removed first, but for a directory that meets a directory:
they become one, with the tar's owner, mode and time. What something is mounted on is never removed: from another mount
namespace the kernel would let us, and unmount it in the container.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from contextlib import suppress
from dataclasses import dataclass

from barque.engine.files.clearing import clear
from barque.engine.files.folders import Folders
from barque.spi.errors import Conflict, InvalidArgument
from barque.spi.trees import xattrs
from barque.spi.trees.filling import describe, write_all, write_sparse
from barque.spi.trees.header import Entry, malformed, show
from barque.spi.trees.reader import TarReader

__all__ = ["Merge", "Merger"]

_REGULAR, _LINK, _SYMLINK, _CHAR, _BLOCK, _DIRECTORY, _FIFO, _CONTIGUOUS = b"01234567"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 16
_MAX_TIME_NS = (1 << 33) * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Merge:
    """How to unpack. `target` is the directory, absolute in the container; `owner`: whom everything shall belong to, None for the
    tar's own numbers; `no_overwrite`: no directory replaces anything else, nor the other way round; `devices`: they can be made."""

    target: str
    owner: tuple[int, int] | None = None
    no_overwrite: bool = False
    devices: bool = True


class Merger:
    """Writes the entries of one tar below `merge.target` of the container at `root`. `name` is that of the entry in hand."""

    def __init__(self, root: int, merge: Merge) -> None:
        self.name = b""
        self._merge = merge
        self._target = os.fsencode(merge.target)
        self._user, self._group = os.geteuid(), os.getegid()
        self._folders = Folders(root, self._target)

    def run(self, reader: TarReader) -> None:
        """Write all entries. Errors: InvalidArgument, Conflict, OSError (of the entry `name`)."""
        try:
            for entry in reader:
                self.name = entry.name
                self._add(entry, reader)
            self._folders.set_times()
        finally:
            self._folders.forget()

    def _add(self, entry: Entry, reader: TarReader) -> None:
        entry.mtime_ns = min(max(entry.mtime_ns, 0), _MAX_TIME_NS)
        if self._merge.owner is not None:
            entry.uid, entry.gid = self._merge.owner
        path = self._inside(entry.name, entry)
        if not path:
            if entry.type != _DIRECTORY:
                raise malformed(entry.name, "it would replace the directory that is copied into")
            return  # the directory that was named keeps what it is, as with Docker
        parent, _, base = path.rpartition(b"/")
        for _attempt in range(_TRIES):
            folder = self._folders.open(parent)
            try:
                self._make(entry, reader, folder, path, base)
            except FileExistsError:
                self._make_room(entry, folder, path, base)
                continue
            return
        raise Conflict(f"{show(path)} in {self._merge.target} is made anew faster than it can be replaced")

    def _inside(self, name: bytes, entry: Entry) -> bytes:
        """`name` relative to the target, empty for the target itself."""
        path = posixpath.normpath(name).lstrip(b"/")
        if path == b".." or path.startswith(b"../"):
            raise InvalidArgument(
                f'invalid tar entry {show(entry.name)}: {show(name)} is outside of "{self._merge.target}"'
            )
        return b"" if path == b"." else path

    def _make(self, entry: Entry, reader: TarReader, folder: int, path: bytes, base: bytes) -> None:
        """Create one entry. FileExistsError: something is in the way, and nothing of the entry has been used."""
        kind = entry.type
        if kind in (_REGULAR, _CONTIGUOUS):
            self._file(entry, reader, folder, base)
        elif kind == _DIRECTORY:
            self._directory(entry, folder, path, base)
        elif kind == _LINK:
            self._hard_link(entry, folder, base)
        elif kind == _SYMLINK:
            os.symlink(entry.linkname, base, dir_fd=folder)
            self._describe(entry, folder, base)
        elif kind == _FIFO:
            os.mkfifo(base, entry.mode & 0o777, dir_fd=folder)
            self._describe(entry, folder, base)
        elif kind in (_CHAR, _BLOCK):
            self._device(entry, folder, base)
        else:
            raise malformed(entry.name, f"unhandled tar header type {show(bytes([kind]))}")

    def _make_room(self, entry: Entry, folder: int, path: bytes, base: bytes) -> None:
        """Remove what is called `base`, unless the request forbids it."""
        try:
            status = os.stat(base, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        directory = stat.S_ISDIR(status.st_mode)
        if self._merge.no_overwrite and directory != (entry.type == _DIRECTORY):
            kinds = ("directory", "non-directory") if directory else ("non-directory", "directory")
            place = os.fsdecode(posixpath.join(self._target, path))
            raise InvalidArgument(
                f'cannot overwrite {kinds[0]} "{place}" with {kinds[1]} "{self._merge.target}"'
            )
        clear(folder, base)
        if directory:
            self._folders.forget()

    def _file(self, entry: Entry, reader: TarReader, folder: int, base: bytes) -> None:
        fd = os.open(base, _CREATE, entry.mode & 0o777, dir_fd=folder)
        try:
            if entry.segments is not None:
                write_sparse(fd, entry, reader)
            else:
                for piece in reader.payload():
                    write_all(fd, piece)
            describe(fd, entry, self._user, self._group)
        finally:
            os.close(fd)

    def _directory(self, entry: Entry, folder: int, path: bytes, base: bytes) -> None:
        """Make the directory, or take the one that is there, and describe it; its time comes at the end."""
        with suppress(FileExistsError):
            os.mkdir(base, 0o700, dir_fd=folder)
        try:
            fd = os.open(base, _OPEN_DIRECTORY, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            raise
        try:
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            if entry.xattrs:
                xattrs.set_all(fd, entry.name, entry.xattrs)
            self._folders.time(path, fd, entry.mtime_ns)
        finally:
            os.close(fd)

    def _hard_link(self, entry: Entry, folder: int, base: bytes) -> None:
        """linkat(2) without AT_SYMLINK_FOLLOW, from a name below the target, be it this tar's or not."""
        source = self._inside(entry.linkname, entry)
        parent, _, name = source.rpartition(b"/")
        if not name:
            raise malformed(entry.name, "a hard link to a directory")
        try:
            source_folder = self._folders.existing(parent)
            os.link(name, base, src_dir_fd=source_folder, dst_dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            raise malformed(entry.name, f"its link target {show(entry.linkname)} is not there") from None
        except PermissionError:
            raise malformed(entry.name, f"its link target {show(entry.linkname)} cannot be linked") from None

    def _device(self, entry: Entry, folder: int, base: bytes) -> None:
        if not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
            raise malformed(entry.name, "its device number is out of range")
        if entry.type == _CHAR and not entry.major and not entry.minor:
            raise malformed(entry.name, "a character device 0/0 would be a whiteout")
        if not self._merge.devices:
            return  # the kernel makes none in a user namespace; Docker leaves them out, too
        kind = stat.S_IFCHR if entry.type == _CHAR else stat.S_IFBLK
        os.mknod(base, entry.mode & 0o777 | kind, os.makedev(entry.major, entry.minor), dir_fd=folder)
        self._describe(entry, folder, base)

    def _describe(self, entry: Entry, folder: int, base: bytes) -> None:
        """Owner and time of a link or node. Its mode is right since it was made: chmod(2) could be led to another file."""
        os.chown(base, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        os.utime(base, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=folder, follow_symlinks=False)
