"""A request's body, framed by its length or in chunks (RFC 9112 6 and 7)."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["MAX_HEAD", "BodyReader", "ProtocolError", "Source"]

MAX_HEAD = 64 << 10
_MAX_CHUNK_LINE = 1 << 10


class ProtocolError(Exception):
    """The peer does not speak HTTP as it must. `status` is the answer; the connection ends with it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Source:
    """Where a body's bytes come from: the connection. `buffer` holds what was received and not used yet."""

    buffer: bytearray

    def fill(self) -> bool:
        """Receive more into `buffer`; False at the end of the stream."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        raise NotImplementedError


class BodyReader:
    """A request's body, read on demand. `length` None: chunked."""

    __slots__ = ("_chunks", "_length", "_source", "_want_continue", "done")

    def __init__(self, source: Source, length: int | None, want_continue: bool) -> None:
        self._source = source
        self._length = length
        self._want_continue = want_continue
        self._chunks = self._read_whole()
        self.done = length == 0

    @property
    def empty(self) -> bool:
        """True when the request says that it has no body."""
        return self._length == 0

    @property
    def withheld(self) -> bool:
        """True while the client waits for `100 Continue`: whether a body follows is not known."""
        return self._want_continue

    def read(self, limit: int) -> bytes:
        """All of it. Errors: ProtocolError 413 when it is longer than `limit` bytes, 400 when it is cut or malformed."""
        if self.done:
            return b""
        if self._length is not None and self._length > limit:
            raise ProtocolError(413, f"the request's body is larger than {limit} bytes")
        data = bytearray()
        for piece in self.pieces():
            data += piece
            if len(data) > limit:
                raise ProtocolError(413, f"the request's body is larger than {limit} bytes")
        return bytes(data)

    def keep(self, limit: int) -> bytes:
        """All of it, for a look before somebody reads it: `read` and `pieces` give it again. Errors: as `read`."""
        data = self.read(limit)
        self._length = len(data)
        self._chunks = self._again(data)
        self.done = not data
        return data

    def _again(self, data: bytes) -> Iterator[bytes]:
        yield data
        self.done = True

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes, of any length; after a reader that stopped half-way, the rest. Errors: ProtocolError."""
        if self._want_continue:
            self._want_continue = False
            self._source.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        # Not `yield from`: with a reader that stops it would end `_chunks` too, and the rest of the body, which may be anybody's
        # bytes, would be taken for the next request.
        for piece in self._chunks:  # noqa: UP028
            yield piece
        if not self.done:
            raise ProtocolError(400, "the request's body is malformed")  # somebody met the error before

    def _read_whole(self) -> Iterator[bytes]:
        yield from self._read_chunked() if self._length is None else self._read_sized(self._length)
        self.done = True

    def _read_sized(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self._take(left)
            left -= len(piece)
            yield piece

    def _read_chunked(self) -> Iterator[bytes]:
        while size := self._chunk_size():
            yield from self._read_sized(size)
            if self._line() != b"":
                raise ProtocolError(400, "malformed chunk: no line end after its data")
        trailer = 0
        while line := self._line():
            trailer += len(line)
            if trailer > MAX_HEAD:
                raise ProtocolError(431, "the request's trailer is too large")

    def _chunk_size(self) -> int:
        digits = self._line().partition(b";")[0].rstrip(b" \t")
        if not digits or len(digits) > 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise ProtocolError(400, "malformed chunk size")
        return int(digits, 16)

    def _line(self) -> bytes:
        buffer = self._source.buffer
        while (end := buffer.find(b"\n")) < 0:
            if len(buffer) > _MAX_CHUNK_LINE:
                raise ProtocolError(400, "malformed chunk: line too long")
            self._fill()
        line = bytes(buffer[: end + 1])
        del buffer[: end + 1]
        if not line.endswith(b"\r\n") or len(line) > _MAX_CHUNK_LINE or b"\r" in line[:-2]:
            raise ProtocolError(400, "malformed chunk: bad line end")
        return line[:-2]

    def _take(self, most: int) -> bytes:
        buffer = self._source.buffer
        if not buffer:
            self._fill()
        with memoryview(buffer) as view:  # one copy: a slice of the buffer itself would be another
            piece = bytes(view[:most])
        del buffer[:most]
        return piece

    def _fill(self) -> None:
        if not self._source.fill():
            raise ProtocolError(400, "the connection ended within the request's body")
