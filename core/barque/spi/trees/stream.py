"""The uncompressed layer as a pipeline: one thread decompresses, one hashes, the caller writes.

All three spend their time in C without the GIL, so they run on several processors.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from queue import Queue

from barque.spi.errors import InvalidArgument

__all__ = ["LayerStream"]

_DEPTH = 8


class LayerStream:
    """Pieces of a layer with their SHA-256, read ahead by a bounded amount. Use as a context manager."""

    def __init__(self, source: Iterator[bytes], max_bytes: int) -> None:
        self._source = source
        self._max_bytes = max_bytes
        self._ready: Queue[bytes] = Queue(_DEPTH)
        self._to_hash: Queue[bytes] = Queue(_DEPTH)
        self._sha256 = hashlib.sha256()
        self._error: BaseException | None = None
        self._cancelled = False
        self._ended = False
        self._threads = (
            threading.Thread(target=self._produce, name="decompress", daemon=True),
            threading.Thread(target=self._hash, name="hash", daemon=True),
        )

    def __enter__(self) -> LayerStream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._cancelled = True
        while not self._ended:
            self._ended = not self._ready.get()
        for thread in self._threads:
            thread.join()

    def next_piece(self) -> bytes:
        """The next piece, empty at the end. Errors: whatever reading or decompressing raised."""
        if self._ended:
            return b""
        piece = self._ready.get()
        if not piece:
            self._ended = True
            if self._error is not None:
                raise self._error
        return piece

    def digest(self) -> str:
        """Read what is left (tars have padding, sometimes more, behind their end) and return `sha256:…` of it all."""
        while self.next_piece():
            pass
        self._threads[1].join()
        return f"sha256:{self._sha256.hexdigest()}"

    def _produce(self) -> None:
        """Feed both queues; an empty piece ends them, also after an error."""
        total = 0
        try:
            for piece in self._source:
                total += len(piece)
                if total > self._max_bytes:
                    raise InvalidArgument(
                        f"the layer has more than {self._max_bytes} bytes",
                        hint="raise max_layer_bytes of the storage driver if the image is to be trusted",
                    )
                if self._cancelled:
                    break
                self._to_hash.put(piece)
                self._ready.put(piece)
        except BaseException as error:  # noqa: BLE001 - raised again by next_piece, in the thread that waits
            self._error = error
        self._to_hash.put(b"")
        self._ready.put(b"")

    def _hash(self) -> None:
        while piece := self._to_hash.get():
            self._sha256.update(piece)
