"""The job of a worker that decompresses a file. Descriptors: the file, and, for an output, where it goes (a pipe, mostly).

gzip, zstd, bzip2 and xz, all by libraries in this process: no program is run, wherever it comes from.
"""

from __future__ import annotations

import bz2
import lzma
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from isal import isal_zlib

from barque.spi.errors import InvalidArgument
from barque.spi.trees.compression import PIECE, pieces
from barque.spi.trees.magic import LONGEST_MAGIC, compression_of
from barque.spi.trees.stream import LayerStream
from barque.spi.trees.worker import serve

__all__ = ["MODULE", "Inflate", "inflate", "main", "run"]

MODULE = "barque.spi.trees.inflate"

_LZMA_MEMORY = 256 << 20  # xz -9 needs 65 MiB; a header can ask for 4 GiB
_GZIP_LEVEL = 2
_GZIP_FORMAT = 31  # zlib's way to say: with gzip's header, the largest window
_NO_LIMIT = 1 << 62
_READ = 256 << 10


@dataclass(frozen=True, slots=True)
class Inflate:
    """`output`: "" for none, "plain", or "gzip" to compress it again (two equal inputs give equal outputs)."""

    output: str = ""


def main(argument: str) -> None:
    """The worker's entry point."""
    serve(run, argument)


def run(job: Mapping[str, Any], descriptors: Sequence[int]) -> Mapping[str, Any]:
    """`inflate` by JSON: `digest` and `bytes` of the decompressed content."""
    digest, size = inflate(Inflate(**job), *descriptors)
    return {"digest": digest, "bytes": size}


def inflate(job: Inflate, source_fd: int, out_fd: int = -1) -> tuple[str, int]:
    """Decompress `source_fd`; `sha256:…` and size of what was in it. Errors: InvalidArgument (damaged)."""
    write, end = _output(job.output, out_fd)
    size = 0
    with LayerStream(_content(source_fd), _NO_LIMIT) as content:
        while piece := content.next_piece():
            size += len(piece)
            write(piece)
        end()
        return content.digest(), size


def _output(kind: str, out_fd: int) -> tuple[Callable[[bytes], None], Callable[[], None]]:
    if not kind:
        return (lambda _: None), (lambda: None)
    if kind == "plain":
        return (lambda data: _write(out_fd, data)), (lambda: None)
    packer = isal_zlib.compressobj(level=_GZIP_LEVEL, wbits=_GZIP_FORMAT)
    return (lambda data: _write(out_fd, packer.compress(data))), (lambda: _write(out_fd, packer.flush()))


def _content(fd: int) -> Iterator[bytes]:
    compression = compression_of(os.pread(fd, LONGEST_MAGIC, 0))
    if compression == "bzip2":
        return _members(fd, bz2.BZ2Decompressor)
    if compression == "xz":
        return _members(fd, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY))
    return pieces(fd, "")


class _Decompressor(Protocol):
    """What bz2's and lzma's decompressors share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _members(fd: int, make: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """All streams of a file that has several, as parallel compressors write it."""
    os.lseek(fd, 0, os.SEEK_SET)
    rest = os.read(fd, _READ)
    while rest.strip(b"\0"):  # xz pads its streams with zeros
        member = make()
        while not member.eof:
            if member.needs_input and not rest:
                rest = os.read(fd, _READ)
                if not rest:
                    raise InvalidArgument("unexpected end of the compressed data")
            try:
                data = member.decompress(rest, PIECE)
            except (OSError, lzma.LZMAError) as error:
                raise InvalidArgument(f"damaged compressed data: {error}") from None
            rest = b""
            if data:
                yield data
        rest = member.unused_data or os.read(fd, _READ)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
