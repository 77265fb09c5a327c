"""Which compression a layer has, and its uncompressed bytes in pieces of bounded size.

Decompression is done in process by ISA-L and libzstd. No helper program is ever run: an `unpigz` or `xz` that an
image brings along has nobody to call it (CVE-2019-14271's kind).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from isal import igzip_lib

from barque.spi import errors
from barque.spi.trees.header import show
from barque.spi.trees.zstd import decompressed

__all__ = ["PIECE", "detect", "pieces"]

PIECE = 512 * 1024
_READ = 256 * 1024

_GZIP, _ZSTD, _PLAIN = "gzip", "zstd", "plain"
_MAGIC = {b"\x1f\x8b": _GZIP, b"\x28\xb5\x2f\xfd": _ZSTD}
_ZSTD_SKIPPABLE = tuple(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))
_OTHER_MAGIC = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}

_MEDIA_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar": _PLAIN,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": _GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": _ZSTD,
    "application/vnd.docker.image.rootfs.foreign.diff.tar": _PLAIN,
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": _GZIP,
    "application/vnd.oci.image.layer.v1.tar": _PLAIN,
    "application/vnd.oci.image.layer.v1.tar+gzip": _GZIP,
    "application/vnd.oci.image.layer.v1.tar+zstd": _ZSTD,
    "application/vnd.oci.image.layer.nondistributable.v1.tar": _PLAIN,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": _GZIP,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": _ZSTD,
    "": None,
}


def detect(start: bytes, media_type: str) -> str:
    """The compression of a layer that begins with `start` (6 bytes or more, or all of it).

    Errors: InvalidArgument when it is not what the media type says (an empty media type says nothing),
    NotImplemented for a media type or compression nobody here can read.
    """
    if media_type not in _MEDIA_TYPES:
        raise errors.NotImplemented(f"unsupported layer media type {show(media_type.encode())}")
    for magic, name in _OTHER_MAGIC.items():
        if start.startswith(magic):
            raise errors.NotImplemented(
                f"layers compressed with {name} are not supported", hint="use gzip or zstd"
            )
    found = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), _PLAIN)
    if start[:4] in _ZSTD_SKIPPABLE:
        found = _ZSTD
    declared = _MEDIA_TYPES[media_type]
    if declared not in (None, found):
        raise errors.InvalidArgument(f"the layer's media type says {declared}, its content is {found}")
    return found


def pieces(fd: int, media_type: str) -> Iterator[bytes]:
    """The uncompressed content of the file `fd` (from its start), at most PIECE bytes at a time."""
    compression = detect(os.pread(fd, 16, 0), media_type)
    if compression == _GZIP:
        return _gzip(fd)
    if compression == _ZSTD:
        return decompressed(lambda: os.read(fd, _READ), PIECE)
    return _plain(fd)


def _plain(fd: int) -> Iterator[bytes]:
    while data := os.read(fd, PIECE):
        yield data


def _gzip(fd: int) -> Iterator[bytes]:
    """All members of a gzip file: pigz, bgzip and eStargz write many."""
    rest = os.read(fd, _READ)
    while rest:
        member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        while not member.eof:
            if member.needs_input and not rest:
                rest = os.read(fd, _READ)
                if not rest:
                    raise errors.InvalidArgument("invalid layer: unexpected end of the gzip data")
            try:
                data = member.decompress(rest, PIECE)
            except igzip_lib.IsalError as error:  # type: ignore[misc]  # isal stubs say it is an instance
                raise errors.InvalidArgument(f"invalid layer: damaged gzip data: {error}") from None
            rest = b""
            if data:
                yield data
        rest = member.unused_data or os.read(fd, _READ)
