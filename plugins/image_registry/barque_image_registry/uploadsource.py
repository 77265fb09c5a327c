"""The bytes of a blob to upload: read once from end to end where nothing goes wrong, so that the engine's store verifies them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from barque.spi.errors import BarqueError, InvalidArgument
from barque_image_registry.throttle import Throttle
from barque_image_registry.wire import Check

__all__ = ["Blob", "SourceFailed", "UploadSource"]

_TOLD_EVERY = 512 << 10


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob: `read(offset)` gives its bytes from there on."""

    digest: str
    size: int
    read: Callable[[int], Iterator[bytes]]


class SourceFailed(Exception):
    """The blob cannot be read; `cause` is the store's own error, which no other try may hide."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class UploadSource:
    """Pieces of one blob, for the requests of one upload. `moved(position)` is told now and then. Not thread-safe."""

    def __init__(self, blob: Blob, throttle: Throttle, moved: Callable[[int], None], check: Check) -> None:
        self.blob = blob
        self._throttle, self._moved, self._check = throttle, moved, check
        self._told = 0
        self._position = -1
        self._rest: memoryview = memoryview(b"")
        self._reader: Iterator[bytes] = iter(())

    def pieces(self, start: int, count: int) -> Iterator[memoryview]:
        """The `count` bytes from `start` on. SourceFailed."""
        if start != self._position:
            self._open(start)
        # Unknown until the whole is handed over: a request that fails on the way leaves it so.
        self._position = -1
        position = start
        while position < start + count:
            piece = self._next(start + count - position)
            yield piece
            position += len(piece)
            self._throttle.take(len(piece), self._check)
            self._tell(position)
        self._position = position

    def _open(self, start: int) -> None:
        try:
            self._reader, self._rest = self.blob.read(start), memoryview(b"")
        except (BarqueError, OSError) as error:
            raise SourceFailed(error) from error

    def _next(self, most: int) -> memoryview:
        if not self._rest:
            try:
                self._rest = memoryview(next(self._reader, b""))
            except (BarqueError, OSError) as error:
                raise SourceFailed(error) from error
        if not self._rest:
            raise SourceFailed(
                InvalidArgument(f"content {self.blob.digest} ends before its {self.blob.size} bytes")
            )
        piece, self._rest = self._rest[:most], self._rest[most:]
        return piece

    def _tell(self, position: int) -> None:
        if abs(position - self._told) >= _TOLD_EVERY or position == self.blob.size:
            self._told = position
            self._moved(position)
