"""Chunks of output to lines."""

from __future__ import annotations

__all__ = ["Lines"]

_PIECE = 16 * 1024  # bytes of a line in one message, as dockerd's


class Lines:
    """The unfinished line of one stream."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their newlines; a long one in pieces."""
        *whole, rest = (self._rest + data).split(b"\n")
        full = len(rest) - len(rest) % _PIECE
        self._rest = rest[full:]
        found = [piece for line in whole for piece in _pieces(line)]
        return found + (_pieces(rest[:full]) if full else [])

    def flush(self) -> list[bytes]:
        """The line that never ended."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


def _pieces(line: bytes) -> list[bytes]:
    return [line[start : start + _PIECE] for start in range(0, len(line), _PIECE)] or [b""]
