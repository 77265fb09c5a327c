"""Chunks of output to lines."""

from __future__ import annotations

__all__ = ["Lines"]

_PIECE = 16 * 1024  # bytes of a line in one entry, as dockerd's


class Lines:
    """The unfinished line of one stream."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """What `data` completes, without newlines: text, and whether the line goes on."""
        *whole, rest = (self._rest + data).split(b"\n")
        full = len(rest) - len(rest) % _PIECE
        self._rest = rest[full:]
        found = [piece for line in whole for piece in _pieces(line, ended=True)]
        return found + (_pieces(rest[:full], ended=False) if full else [])

    def flush(self) -> list[tuple[bytes, bool]]:
        """The line that never ended."""
        rest, self._rest = self._rest, b""
        return [(rest, False)] if rest else []


def _pieces(line: bytes, *, ended: bool) -> list[tuple[bytes, bool]]:
    starts = range(0, max(len(line), 1), _PIECE)
    return [(line[start : start + _PIECE], not ended or start != starts[-1]) for start in starts]
