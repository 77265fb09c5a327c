"""Compares a tree on the disk with what it should be: names, types, owners, modes, times, links, attributes, content."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from barque.spi.trees import content, xattrs
from barque.spi.trees.entries import TYPES
from barque.spi.trees.expected import Node
from barque.spi.trees.header import show
from barque.spi.trees.naming import OPAQUE, is_mark
from barque.spi.trees.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2
from barque.spi.trees.whiteouts import OVERLAY, PREFIX

__all__ = ["Comparer"]

_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_TYPES = {letter[0]: name for name, letter in TYPES.items()}
_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
    stat.S_IFBLK: "block", stat.S_IFIFO: "fifo",
}  # fmt: skip
_SECOND = 1_000_000_000


class Comparer:
    """Compares the directory `root_fd`; `form`, `user_namespace`: how whiteouts are kept. Tells `most` differences at most."""

    def __init__(self, root_fd: int, form: str, *, user_namespace: bool, most: int) -> None:
        self._root_fd = root_fd
        self._overlay = form == OVERLAY
        self._opaque = xattrs.opaque_attribute(user_namespace).decode()
        self._most = most
        self._inodes: dict[int, int] = {}
        self._nodes: dict[int, int] = {}

    def run(self, root: Node) -> list[str]:
        """The differences, a line with its path each."""
        lines: list[str] = []
        for line in self._differences(root):
            lines.append(line)
            if len(lines) == self._most:
                break
        return lines

    def _differences(self, root: Node) -> Iterator[str]:
        waiting = [(b"", root)]
        while waiting:
            path, node = waiting.pop()
            below: list[tuple[bytes, Node]] = []
            try:
                fd = openat2(self._root_fd, path or b".", os.O_RDONLY | os.O_DIRECTORY, _RESOLVE)
            except OSError as error:
                yield _line(path, f"cannot be opened: {error.strerror}")
                continue
            try:
                for name, difference in self._directory(fd, node, below):
                    yield _line(path + b"/" + name if name and path else path or name, difference)
            finally:
                os.close(fd)
            waiting += ((path + b"/" + name if path else name, child) for name, child in reversed(below))

    def _directory(self, fd: int, node: Node, below: list[tuple[bytes, Node]]) -> Iterator[tuple[bytes, str]]:
        """Compare a directory and the files in it; pairs of a name in it (empty: itself) and what is wrong."""
        status = os.fstat(fd)
        names = xattrs.listed(fd)
        yield from ((b"", text) for text in _attributes(status, node))
        if node.described:
            yield from ((b"", text) for text in self._xattrs(fd, names, node))
        if self._overlay:
            opaque = self._opaque in names and os.getxattr(fd, self._opaque) == b"y"
            if opaque != node.opaque:
                yield b"", "is opaque" if opaque else "should be opaque"
        children = node.children or {}
        hidden = node.hidden or set()
        present = sorted(os.fsencode(name) for name in os.listdir(fd))
        marks = (
            hidden
            if self._overlay
            else {PREFIX + name for name in hidden} | ({OPAQUE} if node.opaque else set())
        )
        yield from ((name, "is missing") for name in sorted((children.keys() | marks) - set(present)))
        for name in present:
            child = children.get(name)
            if child is None or (not self._overlay and is_mark(name)):
                yield from ((name, text) for text in self._mark(fd, name, marks))
                continue
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if child.children is not None and stat.S_ISDIR(status.st_mode):
                below.append((name, child))
            else:
                yield from ((name, text) for text in self._file(fd, name, status, child))

    def _mark(self, fd: int, name: bytes, marks: set[bytes]) -> Iterator[str]:
        if name not in marks:
            yield "is not in the layer"
            return
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        right = (
            stat.S_ISCHR(status.st_mode) and not status.st_rdev
            if self._overlay
            else stat.S_ISREG(status.st_mode)
        )
        if not right:
            yield "should be a whiteout"

    def _file(self, fd: int, name: bytes, status: os.stat_result, node: Node) -> Iterator[str]:
        kind, wanted = _KINDS.get(stat.S_IFMT(status.st_mode), "socket"), _TYPES[node.type]
        if kind != wanted:
            yield f"is a {kind}, should be a {wanted}"
            return
        yield from _attributes(status, node)
        if self._inodes.setdefault(id(node), status.st_ino) != status.st_ino:
            yield "is no link to the file it should be linked to"
        if status.st_nlink > 1 and self._nodes.setdefault(status.st_ino, id(node)) != id(node):
            yield "is linked to another file"
        if kind == "symlink":
            target = os.readlink(name, dir_fd=fd)
            if target != node.link:
                yield f"leads to {show(target)}, should lead to {show(node.link)}"
        elif kind in ("char", "block"):
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            if device != node.device:
                yield f"device {device[0]}:{device[1]}, should be {node.device[0]}:{node.device[1]}"
        elif kind == "file":
            yield from self._content(fd, name, status, node)

    def _content(self, dir_fd: int, name: bytes, status: os.stat_result, node: Node) -> Iterator[str]:
        if status.st_size != node.size:
            yield f"{status.st_size} bytes, should be {node.size}"
            return
        try:
            fd = os.open(name, _OPEN_FILE, dir_fd=dir_fd)
        except OSError as error:
            yield f"cannot be opened: {error.strerror}"
            return
        try:
            yield from self._xattrs(fd, xattrs.listed(fd), node)
            if content.digest(fd, node.size, node.segments) != node.digest:
                yield "has another content"
        except OSError as error:
            yield f"cannot be read: {error.strerror}"
        finally:
            os.close(fd)

    def _xattrs(self, fd: int, names: list[str], node: Node) -> Iterator[str]:
        wanted = xattrs.filtered(node.xattrs or {})
        if not wanted and not names:
            return
        found = xattrs.read(fd, names)
        for attribute in sorted(wanted.keys() | found.keys()):
            if wanted.get(attribute) != found.get(attribute):
                yield f"extended attribute {show(attribute)} differs"


def _attributes(status: os.stat_result, node: Node) -> Iterator[str]:
    mode = status.st_mode & 0o7777
    if mode != node.mode and not stat.S_ISLNK(status.st_mode):
        yield f"mode {mode:04o}, should be {node.mode:04o}"
    if (status.st_uid, status.st_gid) != (node.uid, node.gid):
        yield f"owner {status.st_uid}:{status.st_gid}, should be {node.uid}:{node.gid}"
    if node.described and not _same_time(status.st_mtime_ns, node.mtime_ns):
        yield f"modified at {status.st_mtime_ns} ns, should be {node.mtime_ns}"


def _same_time(found: int, wanted: int) -> bool:
    """Some file systems keep seconds only."""
    return found == wanted or (not found % _SECOND and found // _SECOND == wanted // _SECOND)


def _line(path: bytes, difference: str) -> str:
    return f"{show(b'/' + path)}: {difference}"
