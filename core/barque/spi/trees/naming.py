"""Names in a layer's tar: their components, and the marks among them (OCI image-spec, "layer": whiteouts)."""

from __future__ import annotations

from enum import Enum, auto

from barque.spi.trees.header import malformed

__all__ = ["MAX_DEPTH", "OPAQUE", "PREFIX", "Mark", "components", "is_mark", "mark_of"]

MAX_DEPTH = 512
OPAQUE = b".wh..wh..opq"
PREFIX = b".wh."
_META = b".wh..wh."


class Mark(Enum):
    """What an entry is that is no file: bookkeeping of AUFS, an opaque directory's mark, the whiteout of one name."""

    IGNORED = auto()
    OPAQUE = auto()
    WHITEOUT = auto()


def components(name: bytes, max_depth: int = MAX_DEPTH) -> list[bytes]:
    """The components of `name`, relative to the layer's root as an absolute name is too. Errors: InvalidArgument."""
    parts = name.split(b"/")
    if b"" in parts or b"." in parts:
        parts = [part for part in parts if part not in (b"", b".")]
    if b".." in parts:
        raise malformed(name, 'a path with ".." could leave the layer')
    if len(parts) > max_depth:
        raise malformed(name, f"more than {max_depth} directories deep")
    return parts


def is_mark(base: bytes) -> bool:
    """Whether a file of this name would be taken for a mark."""
    return base.startswith(PREFIX)


def mark_of(name: bytes, parts: list[bytes]) -> Mark | None:
    """Which mark the entry `name` is, None for a file. Errors: InvalidArgument."""
    if PREFIX not in name:
        return None
    base = parts[-1]
    if any(part.startswith(_META) for part in parts[:-1]):
        return Mark.IGNORED
    if any(part.startswith(PREFIX) for part in parts[:-1]):
        raise malformed(name, "a whiteout is not a directory")
    if base == OPAQUE:
        return Mark.OPAQUE
    if base.startswith(_META):
        return Mark.IGNORED
    if not base.startswith(PREFIX):
        return None
    if base[len(PREFIX) :] in (b"", b".", b".."):
        raise malformed(name, "a whiteout of no name")
    return Mark.WHITEOUT
