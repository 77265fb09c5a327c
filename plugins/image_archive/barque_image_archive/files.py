"""The files an image lies in: members of a tar, or of a directory. Read by name, bounded, never written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from barque.spi.errors import InvalidArgument, NotFound, PermissionDenied
from barque.spi.trees.header import show
from barque_image_archive.tarindex import TarIndex, clean

__all__ = ["DirectoryFiles", "Extent", "Files", "TarFiles", "read_document"]

LARGEST_DOCUMENT = 8 << 20


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes of an open file; `fd` is the lender's."""

    fd: int
    offset: int
    size: int

    def pieces(self, start: int, most: int) -> Iterator[bytes]:
        """The bytes from `start` on, at most `most` at a time. Errors: InvalidArgument (the file became shorter)."""
        while start < self.size:
            piece = os.pread(self.fd, min(most, self.size - start), self.offset + start)
            if not piece:
                raise InvalidArgument("the archive was cut while it was read")
            start += len(piece)
            yield piece


class Files(Protocol):
    """Files by name, relative, with slashes."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def open(self, name: str) -> AbstractContextManager[Extent]:
        """A context manager that lends the extent of a regular file. Errors: NotFound, InvalidArgument."""
        ...


def read_document(files: Files, name: str, limit: int = LARGEST_DOCUMENT) -> bytes:
    """A small file, whole. Errors: NotFound, InvalidArgument (larger than `limit`)."""
    with files.open(name) as extent:
        if extent.size > limit:
            raise InvalidArgument(f"{show(name.encode(errors='replace'))} is larger than {limit} bytes")
        return b"".join(extent.pieces(0, limit))


class TarFiles:
    """The members of a tar in the descriptor `fd`, which it owns."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._index = TarIndex(fd)

    def __del__(self) -> None:
        os.close(self._fd)

    def has(self, name: str) -> bool:
        """See `Files`."""
        return name in self._index

    @contextmanager
    def open(self, name: str) -> Iterator[Extent]:
        """See `Files`."""
        member = self._index.find(name)
        yield Extent(self._fd, member.offset, member.size)


class DirectoryFiles:
    """The files below a directory. No symbolic link below it is followed."""

    def __init__(self, path: str) -> None:
        """Errors: NotFound, InvalidArgument (no directory), PermissionDenied."""
        try:
            self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self._fd = -1
            raise _refused(error, path) from error

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def has(self, name: str) -> bool:
        """See `Files`."""
        try:
            with self.open(name):
                return True
        except NotFound:
            return False

    @contextmanager
    def open(self, name: str) -> Iterator[Extent]:
        """See `Files`."""
        fd = self._open(name)
        try:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise InvalidArgument(
                    f"{show(name.encode(errors='replace'))} of the layout is no regular file"
                )
            yield Extent(fd, 0, facts.st_size)
        finally:
            os.close(fd)

    def _open(self, name: str) -> int:
        """Each component by itself, so that none is a symbolic link. O_NONBLOCK: a FIFO must not hold us."""
        components = clean(name).split("/")
        kinds = [*[os.O_PATH | os.O_DIRECTORY] * (len(components) - 1), os.O_RDONLY | os.O_NONBLOCK]
        current = os.dup(self._fd)
        try:
            for component, kind in zip(components, kinds, strict=True):
                following = os.open(component, kind | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
                os.close(current)
                current = following
        except OSError as error:
            os.close(current)
            raise _refused(error, name) from error
        return current


def _refused(error: OSError, name: str) -> NotFound | InvalidArgument | PermissionDenied:
    shown = name[:200].encode("utf-8", "replace").decode()
    if error.errno == errno.ENOENT:
        return NotFound(f"no such file: {shown}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return PermissionDenied(f"{shown}: {error.strerror}")
    if error.errno == errno.ELOOP:
        return InvalidArgument(f"{shown} is a symbolic link", hint="an OCI layout has regular files only")
    return InvalidArgument(f"{shown}: {error.strerror}")
