"""Which compression a file has, by its first bytes."""

from __future__ import annotations

__all__ = ["LONGEST_MAGIC", "compression_of"]

LONGEST_MAGIC = 6
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"))


def compression_of(start: bytes) -> str:
    """`gzip`, `zstd`, `bzip2`, `xz`, or `plain` for anything else. `start`: LONGEST_MAGIC bytes or more, or all of the file."""
    return next((name for magic, name in _MAGIC if start.startswith(magic)), "plain")
