"""What a layer's tar should have become on the disk: a model of the tree, made by the rules of `extract`, kept small."""

from __future__ import annotations

import hashlib
import os
from collections import deque

from barque.spi.trees.entries import TYPES
from barque.spi.trees.header import MAX_MTIME_NS, Entry, malformed
from barque.spi.trees.naming import PREFIX, Mark, components, is_mark, mark_of
from barque.spi.trees.reader import TarReader
from barque.spi.trees.whiteouts import OVERLAY

__all__ = ["Expectation", "Node"]

_LINK, _SYMLINK, _DIRECTORY = (TYPES[name][0] for name in ("link", "symlink", "directory"))
_DEVICES = frozenset((TYPES["char"][0], TYPES["block"][0]))
_REGULAR = frozenset(b"07")
_MAX_LINKS = 40


class Node:
    """One file. `children` is None but for a directory; `hidden`: names of lower layers that are whited out in it;
    `described`: the tar has an entry of its own for it. `segments`: where a sparse file has data, whose digest `digest` is."""

    __slots__ = (
        "children", "described", "device", "digest", "gid", "hidden", "link", "mode", "mtime_ns", "opaque", "segments", "size",
        "type", "uid", "xattrs",
    )  # fmt: skip

    def __init__(self, type: int) -> None:
        self.type = type
        self.mode = 0o755
        self.uid = self.gid = self.size = self.mtime_ns = 0
        self.children: dict[bytes, Node] | None = {} if type == _DIRECTORY else None
        self.hidden: set[bytes] | None = None
        self.described = self.opaque = False
        self.device = (0, 0)
        self.digest = self.link = b""
        self.segments: list[tuple[int, int]] | None = None
        self.xattrs: dict[bytes, bytes] | None = None

    def describe(self, entry: Entry) -> None:
        """Take over the attributes of a tar entry."""
        self.described = True
        self.mode, self.uid, self.gid = entry.mode, entry.uid, entry.gid
        self.mtime_ns = min(max(entry.mtime_ns, 0), MAX_MTIME_NS)
        self.xattrs = entry.xattrs


class Expectation:
    """The tree of a layer that is being read. Errors: InvalidArgument for what `Extractor` refuses too."""

    def __init__(self, form: str, *, user_namespace: bool, one_owner: bool) -> None:
        self.root = Node(_DIRECTORY)
        self._overlay = form == OVERLAY
        self._user_namespace = user_namespace
        self._owner = (os.geteuid(), os.getegid()) if one_owner else None

    def run(self, reader: TarReader) -> None:
        """Read all entries."""
        for entry in reader:
            if self._owner:
                entry.uid, entry.gid = self._owner
            self._add(entry, reader)

    def _add(self, entry: Entry, reader: TarReader) -> None:
        parts = components(entry.name)
        if not parts:
            self.root.describe(entry)
            return
        mark = mark_of(entry.name, parts)
        base = parts.pop()
        if mark is Mark.IGNORED:
            return
        if mark is Mark.OPAQUE:
            self._directory(parts, entry.name, make=True).opaque = True
        elif mark is Mark.WHITEOUT:
            self._hide(self._directory(parts, entry.name, make=True), base[len(PREFIX) :])
        elif entry.type == _DIRECTORY:
            self._make_directory(parts, base, entry)
        elif entry.type not in _DEVICES or not self._user_namespace:
            self._file(parts, base, entry, reader)

    def _make_directory(self, parts: list[bytes], base: bytes, entry: Entry) -> None:
        parent = self._directory(parts, entry.name, make=True)
        node = (parent.children or {}).get(base)
        if node is None or node.children is None:
            hidden = base in (parent.hidden or ())
            node = self._make(self._cleared(parts, base, entry.name), base, _DIRECTORY)
            node.opaque = self._overlay and hidden
        node.describe(entry)

    def _file(self, parts: list[bytes], base: bytes, entry: Entry, reader: TarReader) -> None:
        parent = self._cleared(parts, base, entry.name)
        if entry.type == _LINK:
            self._link(parent, base, entry)
            return
        type = TYPES["file"][0] if entry.type in _REGULAR else entry.type
        node = self._make(parent, base, type)
        node.describe(entry)
        node.link, node.size, node.segments = entry.linkname, entry.real_size, entry.segments
        node.device = (entry.major, entry.minor)
        if entry.type in _REGULAR:
            content = hashlib.sha256()
            for piece in reader.payload():
                content.update(piece)
            node.digest = content.digest()

    def _cleared(self, parts: list[bytes], base: bytes, name: bytes) -> Node:
        """The directory for a file, where nothing has its name any more. What had it may have been a link on the way there."""
        parent = self._directory(parts, name, make=True)
        if (parent.children or {}).pop(base, None) is not None:
            parent = self._directory(parts, name, make=True)
        if self._overlay and parent.hidden:
            parent.hidden.discard(base)
        return parent

    def _link(self, parent: Node, base: bytes, entry: Entry) -> None:
        target = components(entry.linkname)
        if not target or is_mark(target[-1]):
            raise malformed(entry.name, "a hard link to nothing")
        name = target.pop()
        holder = self._directory(target, entry.name, make=False)
        node = (holder.children or {}).get(name)
        if node is None and self._overlay and name in (holder.hidden or ()):
            self._hide(parent, base)  # a whiteout is a file in its own right there
        elif node is None or node.children is not None:
            raise malformed(entry.name, "its link target is not in the layer")
        else:
            self._put(parent, base, node)

    def _make(self, parent: Node, base: bytes, type: int) -> Node:
        """A new file in the place of whatever was there. For overlayfs a directory that takes a whiteout's place is opaque."""
        node = Node(type)
        node.opaque = self._overlay and type == _DIRECTORY and base in (parent.hidden or ())
        self._put(parent, base, node)
        return node

    def _put(self, parent: Node, base: bytes, node: Node) -> None:
        if parent.children is not None:
            parent.children[base] = node
        if self._overlay and parent.hidden:
            parent.hidden.discard(base)

    def _hide(self, parent: Node, base: bytes) -> None:
        there = (parent.children or {}).get(base)
        if there is None or not self._overlay:
            parent.hidden = parent.hidden or set()
            parent.hidden.add(base)
        elif there.children is not None:
            there.opaque = True

    def _directory(self, parts: list[bytes], name: bytes, *, make: bool) -> Node:
        """The directory that a path leads to, through links of the layer, never above its root; made when it is missing."""
        way = [self.root]
        waiting = deque((part, False) for part in parts)
        links = 0
        while waiting:
            part, linked = waiting.popleft()
            if part == b"..":
                del way[max(1, len(way) - 1) :]
                continue
            node = (way[-1].children or {}).get(part)
            if node is None:
                if linked or not make:
                    raise malformed(name, "a directory of its path is not in the layer")
                node = self._make(way[-1], part, _DIRECTORY)
            if node.type == _SYMLINK:
                links += 1
                if links > _MAX_LINKS:
                    raise malformed(name, "too many links in its path")
                if node.link.startswith(b"/"):
                    del way[1:]
                waiting.extendleft(
                    (step, True) for step in reversed(node.link.split(b"/")) if step not in (b"", b".")
                )
                continue
            if node.children is None:
                raise malformed(name, "a parent of it is not a directory")
            way.append(node)
        return way[-1]
