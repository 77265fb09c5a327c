"""Read a binary package: the ar container, its control fields, its data tar (deb(5), ar(5))."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import zstandard

from barque.spi.errors import InvalidArgument, ResourceExhausted

__all__ = ["Control", "damage_named", "read_control", "spool_data"]

_MAGIC = b"!<arch>\n"
_HEADER_BYTES = 60
_CHUNK = 1 << 20
_LARGEST_CONTROL = 32 << 20


@dataclass(frozen=True, slots=True)
class Control:
    """The control part of a package: its paragraph as it stands in the package, its fields by lower-case name,
    and the other members (`md5sums`, `conffiles`, maintainer scripts) that dpkg would keep."""

    paragraph: str
    fields: Mapping[str, str]
    members: Mapping[str, bytes]

    @property
    def package(self) -> str:
        return self.fields["package"]

    @property
    def version(self) -> str:
        return self.fields["version"]

    @property
    def info_name(self) -> str:
        """The base name of the package's files in /var/lib/dpkg/info."""
        if self.fields.get("multi-arch") == "same":
            return f"{self.package}:{self.fields['architecture']}"
        return self.package


@contextmanager
def damage_named(name: str) -> Iterator[None]:
    """InvalidArgument with the package's name for whatever a decompressor or tarfile finds wrong."""
    try:
        yield
    except (
        tarfile.TarError,
        lzma.LZMAError,
        zlib.error,
        zstandard.ZstdError,
        gzip.BadGzipFile,
        EOFError,
        ValueError,
    ) as error:
        raise InvalidArgument(f"{name}: damaged package: {error}") from error


class _Slice(io.RawIOBase):
    """One member of the ar file, as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._position, self._end = file, start, start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        self._file.seek(self._position)
        data = self._file.read(min(len(view), self._end - self._position))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


def read_control(path: Path) -> Control:
    """Read the control part of the package at `path`. InvalidArgument when it is not a Debian package."""
    with damage_named(path.name):
        return _read_control(path)


def _read_control(path: Path) -> Control:
    with path.open("rb") as file, _member(path, file, "control.tar") as stream:
        raw = stream.read(_LARGEST_CONTROL + 1)
    if len(raw) > _LARGEST_CONTROL:
        raise InvalidArgument(f"{path.name}: control part larger than {_LARGEST_CONTROL} bytes")
    members: dict[str, bytes] = {}
    with tarfile.open(
        fileobj=io.BytesIO(raw), mode="r:", encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info in archive:
            reader = archive.extractfile(info) if info.isfile() else None
            if reader is not None:
                members[info.name.removeprefix("./")] = reader.read()
    paragraph = members.pop("control", b"").decode("utf-8", "replace").strip("\n")
    fields = _fields(paragraph)
    if not all(fields.get(name) for name in ("package", "version", "architecture")):
        raise InvalidArgument(f"{path.name}: no Package, Version or Architecture in its control file")
    return Control(paragraph, fields, {name: data for name, data in members.items() if "/" not in name})


def spool_data(path: Path, target: Path, limit: int) -> None:
    """Decompress the data tar of the package at `path` into the file `target`, at most `limit` bytes."""
    written = 0
    with (
        damage_named(path.name),
        path.open("rb") as file,
        _member(path, file, "data.tar") as stream,
        target.open("wb") as out,
    ):
        while data := stream.read(_CHUNK):
            written += len(data)
            if written > limit:
                raise ResourceExhausted(
                    f"{path.name}: unpacks to more than {limit} bytes",
                    hint="raise max_size of the deb image source",
                )
            out.write(data)


def _member(path: Path, file: BinaryIO, prefix: str) -> IO[bytes]:
    """Open the first ar member whose name is `prefix` plus a compression suffix."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise InvalidArgument(f"{path.name}: not a Debian package (no ar signature)")
    while header := file.read(_HEADER_BYTES):
        name, size = _ar_header(path, header)
        start = file.tell()
        if name == prefix or name.startswith(f"{prefix}."):
            return _decompressor(path, name, io.BufferedReader(_Slice(file, start, size), _CHUNK))
        file.seek(start + size + size % 2)
    raise InvalidArgument(f"{path.name}: not a Debian package (no {prefix})")


def _ar_header(path: Path, header: bytes) -> tuple[str, int]:
    size = header[48:58].strip()
    if len(header) != _HEADER_BYTES or header[58:] != b"`\n" or not size.isdigit():
        raise InvalidArgument(f"{path.name}: damaged ar header")
    return header[:16].decode("latin-1").rstrip(" /"), int(size)


def _decompressor(path: Path, name: str, stream: io.BufferedReader) -> IO[bytes]:
    match name.rpartition(".")[2]:
        case "tar":
            return stream
        case "gz":
            return cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
        case "xz" | "lzma":
            return lzma.LZMAFile(stream)
        case "bz2":
            return bz2.BZ2File(stream)
        case "zst":
            # dpkg-deb may write several frames; read_across_frames is off by default.
            return cast(
                "IO[bytes]", zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
            )
        case other:
            raise InvalidArgument(f"{path.name}: unknown compression {other!r} of {name}")


def _fields(paragraph: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    key = ""
    for line in paragraph.splitlines():
        if line[:1] in (" ", "\t"):
            if key:
                fields[key] += "\n" + line.strip()
            continue
        name, colon, value = line.partition(":")
        if colon:
            key = name.strip().lower()
            fields[key] = value.strip()
    return fields
