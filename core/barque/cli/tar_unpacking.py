"""Unpacks a tar that a daemon sends into a local directory, and nowhere else: neither daemon nor container is trusted.

Every directory on the way is opened by its descriptor and without following a link, every file is created anew. What only the
superuser can make of it is left alone unless asked for: owners, set-user-id bits, file capabilities, devices.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tarfile

from barque.cli.errors import CliError
from barque.cli.quoting import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

__all__ = ["Unpacking"]

_PIECE = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNSUPPORTED = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL)
_XATTR = "SCHILY.xattr."
_CAPABILITY = _XATTR + "security.capability"  # as good as a set-user-id bit


class Unpacking:
    """Writes below the directory `root`. Of each name the first component, which is `source`, becomes `name`; `.` for either: none.
    `archive`: owners, set-id bits, file capabilities and devices as they are in the tar."""

    def __init__(self, root: str, source: str, name: str, *, archive: bool) -> None:
        self._place = root
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._source = [] if source == "." else [source]
        self._name = [] if name == "." else [name]
        self._archive = archive
        self._directories: list[tuple[list[str], tarfile.TarInfo]] = []
        self._parent: tuple[list[str], int] | None = None

    def run(self, content: IO[bytes]) -> None:
        """Unpack all of `content`. Raises CliError."""
        place = ""
        try:
            with tarfile.open(fileobj=content, mode="r|", bufsize=_PIECE, errors="surrogateescape") as tar:
                for member in tar:
                    place = member.name
                    self._add(tar, member)
                    tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            for parts, member in reversed(self._directories):
                place = member.name
                self._finish_directory(parts, member)
        except (tarfile.TarError, ValueError, OverflowError) as error:  # a NUL in a name, no number
            raise CliError(f"the daemon's archive is malformed: {error}") from None
        except OSError as error:
            raise CliError(f"copying {place} to {self._place}: {(error.strerror or '').lower()}") from None
        finally:
            self._forget()
            os.close(self._root)

    def _add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = self._parts(member.name)
        if not parts:
            return
        parent = self._open(parts[:-1])
        if member.isdir():
            self._make_directory(parent, parts)
            self._directories.append((parts, member))
            return
        if not self._wanted(member):
            return
        self._make_room(parent, parts)
        if member.isreg():
            self._file(tar, member, parent, parts[-1])
        elif member.islnk():
            self._link(self._parts(member.linkname), parent, parts[-1])
        else:
            self._node(member, parent, parts[-1])

    def _parts(self, name: str) -> list[str]:
        """The components of an entry's name at its place here. Raises CliError for one that would leave it."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or parts[: len(self._source)] != self._source:
            raise CliError(f"the daemon's archive has an entry that was not asked for: {name!r}")
        return self._name + parts[len(self._source) :]

    def _wanted(self, member: tarfile.TarInfo) -> bool:
        if self._archive or not (member.ischr() or member.isblk()):
            return True
        sys.stderr.write(f"{printable(member.name)}: a device is left out without --archive\n")
        return False

    def _open(self, parts: list[str]) -> int:
        """A descriptor of a directory below the root, made where it is missing. It is ours until the next call."""
        if self._parent is not None and self._parent[0] == parts:
            return self._parent[1]
        self._forget()
        fd = os.dup(self._root)
        for part in parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=fd)
            try:
                below = os.open(part, _DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        self._parent = (parts, fd)
        return fd

    def _forget(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def _make_directory(self, parent: int, parts: list[str]) -> None:
        try:
            os.mkdir(parts[-1], dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(parts[-1], dir_fd=parent, follow_symlinks=False).st_mode):
                raise self._conflict("non-directory", parts, "directory") from None

    def _make_room(self, parent: int, parts: list[str]) -> None:
        """Take away a file that stands there; a directory never gives way."""
        try:
            os.unlink(parts[-1], dir_fd=parent)
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError):
            if stat.S_ISDIR(os.stat(parts[-1], dir_fd=parent, follow_symlinks=False).st_mode):
                raise self._conflict("directory", parts, "non-directory") from None
            raise

    def _conflict(self, there: str, parts: list[str], new: str) -> CliError:
        place = os.path.join(self._place, *parts)
        return CliError(f'cannot overwrite {there} "{place}" with {new} "{self._place}"')

    def _file(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
        fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
        try:
            source = tar.extractfile(member)
            while source is not None and (piece := source.read(_PIECE)):
                written = os.write(fd, piece)
                while written < len(piece):
                    written += os.write(fd, piece[written:])
            self._describe(fd, member)
        finally:
            os.close(fd)

    def _link(self, target: list[str], parent: int, name: str) -> None:
        """A hard link to an entry; the way to it follows no link either."""
        if not target:
            raise CliError("the daemon's archive has a hard link to a directory")
        kept = os.dup(parent)
        try:
            source = self._open(target[:-1])
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=kept, follow_symlinks=False)
        finally:
            os.close(kept)

    def _node(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        if member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
        elif member.isfifo():
            os.mkfifo(name, member.mode & 0o777, dir_fd=parent)
        elif member.isdev():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            device = os.makedev(member.devmajor, member.devminor)
            os.mknod(name, member.mode & 0o777 | kind, device, dir_fd=parent)
        else:
            raise CliError(f"the daemon's archive has an entry of an unknown type: {member.name!r}")
        if self._archive and os.geteuid() == 0:
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=_times(member), dir_fd=parent, follow_symlinks=False)

    def _finish_directory(self, parts: list[str], member: tarfile.TarInfo) -> None:
        """Mode and time, when nothing is made in it any more."""
        fd = os.open(".", _DIRECTORY, dir_fd=self._open(parts))
        try:
            self._describe(fd, member)
        finally:
            os.close(fd)

    def _describe(self, fd: int, member: tarfile.TarInfo) -> None:
        if self._archive and os.geteuid() == 0:
            os.fchown(fd, member.uid, member.gid)
        os.fchmod(fd, member.mode & (0o7777 if self._archive or member.isdir() else 0o777))
        for keyword, value in member.pax_headers.items():
            if keyword.startswith(_XATTR + "user.") or (self._archive and keyword == _CAPABILITY):
                try:
                    os.setxattr(fd, keyword[len(_XATTR) :], value.encode("utf-8", "surrogateescape"))
                except OSError as error:
                    if error.errno not in _UNSUPPORTED:
                        raise
        os.utime(fd, ns=_times(member))


def _times(member: tarfile.TarInfo) -> tuple[int, int]:
    """Access and modification time in nanoseconds, without the detour of a float."""
    whole, _, fraction = str(member.pax_headers.get("mtime") or int(member.mtime)).partition(".")
    ns = abs(int(whole)) * 1_000_000_000 + int((fraction + "0" * 9)[:9] or 0)
    ns = -ns if whole.startswith("-") else ns
    return ns, ns
