"""Opening an archive: a regular file, plain or compressed (gzip, zstd, bzip2, xz). A compressed one is unpacked to a file
without a name first, by a worker process, because layers are read by position."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from barque.spi.errors import (
    BarqueError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from barque.spi.trees.failures import reported
from barque.spi.trees.magic import LONGEST_MAGIC, compression_of
from barque.spi.trees.pool import WorkerPool
from barque.spi.trees.streaming import stream
from barque_image_archive.contents import Contents
from barque_image_archive.files import TarFiles

__all__ = ["Archives"]

_KEPT_SECONDS = 5.0
_INFLATE = (
    "barque.spi.trees.inflate"  # not imported: it loads all decompressors, which the worker alone needs
)
_WORKERS = 2
_IDLE_SECONDS = 2.0
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_Identity = tuple[int, int, int, int]


class Archives:
    """The archives a driver has open, each once. `scratch`: where compressed ones are unpacked, to at most `limit` bytes.
    Thread-safe. An archive is closed with the last image resolved from it."""

    def __init__(self, scratch: str, limit: int) -> None:
        self._scratch, self._limit = scratch, limit
        self._lock = threading.Lock()
        jail = os.path.join(scratch, "jail")
        os.makedirs(jail, mode=0o700, exist_ok=True)
        self._pool = WorkerPool(_INFLATE, _WORKERS, _IDLE_SECONDS, jail)
        self._open: WeakValueDictionary[_Identity, Contents] = WeakValueDictionary()

    def open(self, path: str, cancelled: Callable[[], bool]) -> Contents:
        """Errors: NotFound, InvalidArgument (no archive), PermissionDenied, ResourceExhausted, Unavailable (cancelled)."""
        with _opened(path) as fd:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise InvalidArgument(
                    f"{path} is no regular file", hint="a directory layout is oci:DIRECTORY"
                )
            identity = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
            with self._lock:
                contents = self._open.get(identity)
            if contents is None:
                contents = self._read(fd, cancelled)
                with self._lock:
                    self._open[identity] = contents
            return contents

    def keep(self, contents: Contents) -> None:
        """Hold an archive that had to be unpacked for a few seconds: its images are about to be resolved."""
        if contents.unpacked:
            threading.Thread(target=_hold, args=(contents,), name="archive", daemon=True).start()

    def _read(self, fd: int, cancelled: Callable[[], bool]) -> Contents:
        compressed = compression_of(os.pread(fd, LONGEST_MAGIC, 0)) != "plain"
        plain = self._unpacked(fd, cancelled) if compressed else os.dup(fd)
        try:
            return Contents.read(TarFiles(plain), "the archive", unpacked=compressed)
        except InvalidArgument as error:
            raise InvalidArgument(
                f"this is no image archive: {error.message}",
                hint=error.hint or "`docker save` and `skopeo copy … oci-archive:FILE` write archives",
            ) from error

    def _unpacked(self, fd: int, cancelled: Callable[[], bool]) -> int:
        """The archive without its compression, in a file without a name. Its space is free again when it is closed."""
        written = 0

        def write(piece: bytes) -> None:
            nonlocal written
            if cancelled():
                raise Unavailable("loading was cancelled")
            written += len(piece)
            if written > self._limit:
                raise ResourceExhausted(
                    f"the archive unpacks to more than {self._limit} bytes",
                    hint="raise max_unpacked_bytes of the image source if it is to be trusted",
                )
            _write(plain, piece)

        import tempfile  # loaded by those who load compressed archives alone

        with reported("unpacking an archive", self._scratch):
            with tempfile.TemporaryFile(dir=self._scratch) as file:
                plain = os.dup(file.fileno())
            try:
                stream(self._pool, {"output": "plain"}, (fd,), write, "decompressing an archive")
            except BaseException:
                os.close(plain)
                raise
        return plain


def _hold(_contents: Contents) -> None:
    time.sleep(_KEPT_SECONDS)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        fd = os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no such file: {path}") from None
    except OSError as error:
        raise _refused(error, path) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _refused(error: OSError, path: str) -> BarqueError:
    if isinstance(error, PermissionError):
        return PermissionDenied(f"{path}: {error.strerror}")
    return InvalidArgument(f"{path}: {error.strerror}")


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
