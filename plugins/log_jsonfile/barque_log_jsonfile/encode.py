"""Chunks of output to JSON lines, with no Python per line where it can be avoided.

The trick of `encode_lines`: one call of the C string encoder escapes the whole chunk. Line ends are replaced
before by a character that the encoder leaves alone, and after by the text that stands between two lines' contents.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from json import dumps
from json.encoder import encode_basestring

__all__ = ["MAX_PIECE", "LineEncoder", "has_long_line", "pieces"]

MAX_PIECE = 16 * 1024  # bytes of a line that dockerd keeps in one entry
_LINE_END = "\x7f"  # DEL: one byte, legal in a JSON string as it is, and next to never in a log


class LineEncoder:
    """Encodes for one stream; remembers the text of the second it was asked for last."""

    def __init__(self, stream: str, attributes: Mapping[str, str]) -> None:
        attrs = (
            f'"attrs":{dumps(dict(attributes), ensure_ascii=False, separators=(",", ":"))},'
            if attributes
            else ""
        )
        # A lone surrogate in a label could not be encoded; the rest of the text cannot hold any.
        self._tail = f'","stream":"{stream}",{attrs}"time":"'.encode("utf-8", "replace").decode()
        self._second = -1
        self._second_text = ""

    def encode_lines(self, data: bytes, time_ns: int) -> bytes:
        """Entries for `data`, which is whole lines, none longer than `MAX_PIECE`."""
        text = data.decode("utf-8", "replace")
        end = self._end(time_ns)
        if _LINE_END in text:
            lines = text.split("\n")[:-1]
            return "".join([f'{{"log":{encode_basestring(line)[:-1]}\\n{end}' for line in lines]).encode()
        escaped = encode_basestring(text.replace("\n", _LINE_END))[:-2]
        body = escaped.replace(_LINE_END, f'\\n{end}{{"log":"')
        return f'{{"log":{body}\\n{end}'.encode()

    def encode_piece(self, piece: bytes, time_ns: int) -> bytes:
        """One entry for a piece of a line, with its newline or without."""
        escaped = encode_basestring(piece.decode("utf-8", "replace"))[:-1]
        return f'{{"log":{escaped}{self._end(time_ns)}'.encode()

    def _end(self, time_ns: int) -> str:
        second, fraction = divmod(time_ns, 1_000_000_000)
        if second != self._second:
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f'{self._tail}{self._second_text}.{fraction:09d}Z"}}\n'


def has_long_line(data: bytes) -> bool:
    """Whether a line in `data` (whole lines) has `MAX_PIECE` bytes or more before its newline."""
    position, size = 0, len(data)
    while size - position > MAX_PIECE:
        newline = data.rfind(b"\n", position, position + MAX_PIECE)
        if newline < 0:
            return True
        position = newline + 1
    return False


def pieces(line: bytes) -> tuple[list[bytes], bytes]:
    """The full pieces (`MAX_PIECE` bytes) of `line`, and the shorter rest with the newline if there is one.

    A piece is up to three bytes shorter where it would tear a UTF-8 character.
    """
    full = []
    position = 0
    content = len(line) - line.endswith(b"\n")
    while content - position >= MAX_PIECE:
        cut = _character_start(line, position + MAX_PIECE)
        full.append(line[position:cut])
        position = cut
    return full, line[position:]


def _character_start(data: bytes, limit: int) -> int:
    """`limit`, or up to three less when a UTF-8 character begins before it and goes on beyond it."""
    for back in (1, 2, 3):
        byte = data[limit - back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return limit - back if length > back else limit
        if byte < 0x80:
            return limit
    return limit
