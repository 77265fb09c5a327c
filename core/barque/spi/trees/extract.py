"""Writes the entries of a layer tar below one directory, and nowhere else.

No entry's name is ever handed to the kernel as a path: its parent is a descriptor that `Directories` resolved inside
the layer, its last component is created exclusively (never followed, never overwritten). What stood there before
is moved away first, as a later entry of the same name replaces an earlier one.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from barque.spi.errors import BarqueError, FailedPrecondition, Internal, PermissionDenied, ResourceExhausted
from barque.spi.trees.directories import Directories, is_whiteout
from barque.spi.trees.filling import describe, write_all, write_sparse
from barque.spi.trees.header import MAX_MTIME_NS, Entry, malformed, show
from barque.spi.trees.naming import MAX_DEPTH, PREFIX, Mark, components, is_mark, mark_of
from barque.spi.trees.reader import TarReader
from barque.spi.trees.whiteouts import OVERLAY, Whiteouts

__all__ = ["Extractor", "Limits"]

_NO_NAMES = frozenset((b"", b".", b".."))
_REGULAR, _LINK, _SYMLINK, _CHAR, _BLOCK, _DIRECTORY, _FIFO, _CONTIGUOUS = b"01234567"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HOSTILE = frozenset(
    {
        errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EXDEV, errno.ENOENT, errno.EINVAL,
        errno.EMLINK, errno.EILSEQ, errno.EFBIG, errno.EEXIST, errno.EOVERFLOW,
    }
)  # fmt: skip
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


@dataclass(frozen=True, slots=True)
class Limits:
    """What a layer may cost: entries, uncompressed bytes, directories above one another."""

    max_entries: int
    max_bytes: int
    max_depth: int = MAX_DEPTH


class Extractor:
    """Unpacks into `root_fd`; what entries replace goes to the directory `scratch_fd` (same file system).

    `one_owner`: everything belongs to this process's user and group, whatever the layer says.
    `whiteouts` is the form in which deletions are kept, see `barque.spi.trees.whiteouts`.
    `bytes` and `inodes` are the usage so far, an estimate once `replaced` is true. `place` names the file system in errors.
    """

    def __init__(
        self,
        root_fd: int,
        scratch_fd: int,
        user_namespace: bool,
        limits: Limits,
        place: str,
        *,
        one_owner: bool = False,
        whiteouts: str = OVERLAY,
    ) -> None:
        self.bytes = 0
        self.inodes = 0
        self.replaced = 0
        self._scratch_fd = scratch_fd
        self._limits = limits
        self._place = place
        self._user_namespace = user_namespace
        self._one_owner = one_owner
        self._user = os.geteuid()
        self._group = os.getegid()
        self._block = os.fstatvfs(root_fd).f_frsize
        self._parent: bytes | None = None  # of the last entry: checked, and mostly that of the next one too
        self._whiteouts = Whiteouts(whiteouts, user_namespace)
        self._dirs = Directories(root_fd, self._whiteouts)

    def run(self, reader: TarReader) -> None:
        """Write all entries. Errors: InvalidArgument, ResourceExhausted, PermissionDenied, FailedPrecondition."""
        name = b""
        try:
            for entry in reader:
                name = entry.name
                self._add(entry, reader)
            name = b"(attributes of directories)"
            self._dirs.finish()
        except OSError as error:
            raise self._explained(error, name) from error
        finally:
            self._dirs.forget()
        self.inodes += self._dirs.made

    def _add(self, entry: Entry, reader: TarReader) -> None:
        entry.mtime_ns = min(max(entry.mtime_ns, 0), MAX_MTIME_NS)
        if self._one_owner:
            entry.uid, entry.gid = self._user, self._group
        name = entry.name
        parent, _, base = name.rpartition(b"/")
        if parent != self._parent or base in _NO_NAMES or PREFIX in base:
            parts = components(name, self._limits.max_depth)
            if not parts:
                self._root_entry(entry)
                return
            mark = mark_of(name, parts)
            base = parts.pop()
            parent = b"/".join(parts)
            if mark is not None:
                self._mark(mark, parent, base)
                return
            self._parent = parent
        parent_fd = self._dirs.fd_of(parent)
        if entry.type == _DIRECTORY:
            self._directory(entry, parent, parent_fd, base)
            return
        try:
            self._create(entry, reader, parent_fd, base)
        except FileExistsError:
            self._replace(parent_fd, base)
            self._create(entry, reader, self._dirs.fd_of(parent), base)

    def _root_entry(self, entry: Entry) -> None:
        if entry.type != _DIRECTORY:
            raise malformed(entry.name, "the root of a layer is a directory")
        self._dirs.describe(entry, b"", self._dirs.fd_of(b""), b"")

    def _create(self, entry: Entry, reader: TarReader, parent_fd: int, base: bytes) -> None:
        kind = entry.type
        if kind in (_REGULAR, _CONTIGUOUS):
            self._file(entry, reader, parent_fd, base)
            return
        if kind == _LINK:
            self._hard_link(entry, parent_fd, base)
            return
        if kind == _SYMLINK:
            os.symlink(entry.linkname, base, dir_fd=parent_fd)
        elif kind == _FIFO:
            os.mkfifo(base, entry.mode, dir_fd=parent_fd)
        elif kind in (_CHAR, _BLOCK):
            device = _device(entry)
            if self._user_namespace:
                return  # the kernel makes no device nodes there; a container gets its own over what an image has
            os.mknod(base, entry.mode | device[0], device[1], dir_fd=parent_fd)
        else:
            raise malformed(entry.name, f"unhandled tar header type {show(bytes([kind]))}")
        self.inodes += 1
        self._describe_node(entry, parent_fd, base)

    def _file(self, entry: Entry, reader: TarReader, parent_fd: int, base: bytes) -> None:
        fd = os.open(base, _CREATE, entry.mode & 0o777, dir_fd=parent_fd)
        try:
            self.inodes += 1
            if entry.segments is not None:
                write_sparse(fd, entry, reader)
                self.bytes += os.fstat(fd).st_blocks * 512
            elif entry.size:
                self.bytes += entry.size + -entry.size % self._block
                whole = reader.whole_payload()
                for piece in (whole,) if whole is not None else reader.payload():
                    write_all(fd, piece)
            describe(fd, entry, self._user, self._group)
        finally:
            os.close(fd)

    def _hard_link(self, entry: Entry, parent_fd: int, base: bytes) -> None:
        """linkat(2) without AT_SYMLINK_FOLLOW: the link's target is the name in this layer, be it a symlink."""
        target = components(entry.linkname, self._limits.max_depth)
        if not target:
            raise malformed(entry.name, "a hard link to nothing")
        target_base = target.pop()
        try:
            if is_mark(target_base):
                raise FileNotFoundError  # a mark that this layer keeps, and no file of it
            source_fd = self._dirs.existing_fd(b"/".join(target))
            os.link(target_base, base, src_dir_fd=source_fd, dst_dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            raise malformed(
                entry.name, f"its link target {show(entry.linkname)} is not in the layer"
            ) from None
        except PermissionError:
            raise malformed(entry.name, f"its link target {show(entry.linkname)} cannot be linked") from None

    def _describe_node(self, entry: Entry, parent_fd: int, base: bytes) -> None:
        if entry.uid != self._user or entry.gid != self._group:
            os.chown(base, entry.uid, entry.gid, dir_fd=parent_fd, follow_symlinks=False)
        if entry.type != _SYMLINK and entry.mode > 0o777:
            os.chmod(base, entry.mode, dir_fd=parent_fd)  # just created here: a device or a FIFO, not a link
        os.utime(base, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent_fd, follow_symlinks=False)

    def _directory(self, entry: Entry, parent: bytes, parent_fd: int, base: bytes) -> None:
        path = parent + b"/" + base if parent else base
        try:
            self._dirs.make(path, parent_fd, base, opaque=False)
        except FileExistsError:
            status = os.stat(base, dir_fd=parent_fd, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                opaque = is_whiteout(parent_fd, base)
                self._replace(parent_fd, base)
                parent_fd = self._dirs.fd_of(parent)
                self._dirs.make(path, parent_fd, base, opaque)
        self._dirs.describe(entry, path, parent_fd, base)

    def _mark(self, mark: Mark, parent: bytes, base: bytes) -> None:
        """Handle an entry of the whiteout convention. AUFS's own bookkeeping is not part of the image."""
        if mark is Mark.OPAQUE:
            self._dirs.make_opaque(self._dirs.fd_of(parent))
        elif mark is Mark.WHITEOUT:
            self._hide(self._dirs.fd_of(parent), base[len(PREFIX) :])

    def _hide(self, parent_fd: int, base: bytes) -> None:
        """Hide what lower layers call `base`; what this layer has under the name stays and is opaque."""
        try:
            self.inodes += self._whiteouts.hide(parent_fd, base)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(base, dir_fd=parent_fd, follow_symlinks=False).st_mode):
                self._dirs.make_opaque(parent_fd, base)

    def _replace(self, parent_fd: int, base: bytes) -> None:
        """Move what is called `base` out of the layer: one rename, however large the tree is."""
        os.rename(base, b"%d" % self.replaced, src_dir_fd=parent_fd, dst_dir_fd=self._scratch_fd)
        self.replaced += 1
        self._dirs.forget()

    def _explained(self, error: OSError, name: bytes) -> BarqueError:
        reason = error.strerror or str(error)
        text = f"unpacking {show(name)} in {self._place}: {reason}"
        if error.errno in _FULL:
            return ResourceExhausted(text, hint=f"free space or inodes on the file system of {self._place}")
        if error.errno == errno.EINVAL and self._user_namespace:
            return FailedPrecondition(
                f"{text}: its owner is not mapped in this user namespace",
                hint="give the user more ids in /etc/subuid and /etc/subgid, or set one_owner = true in [storage.overlay]",
            )
        if error.errno in _HOSTILE:
            return malformed(name, reason)
        if error.errno in (errno.EPERM, errno.EACCES):
            return PermissionDenied(
                text, hint="device nodes and foreign owners need privileges the engine lacks here"
            )
        if error.errno in (errno.EROFS, errno.ENOTSUP, errno.ENOSYS):
            return FailedPrecondition(text)
        return Internal(text)


def _device(entry: Entry) -> tuple[int, int]:
    """File type and number of a device, checked."""
    if not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
        raise malformed(entry.name, "its device number is out of range")
    if entry.type == _CHAR and not entry.major and not entry.minor:
        raise malformed(entry.name, "a character device 0/0 would be a whiteout")
    kind = stat.S_IFCHR if entry.type == _CHAR else stat.S_IFBLK
    return kind, os.makedev(entry.major, entry.minor)
