"""Chunks of output to JSON lines, with no Python per line.

A whole chunk is escaped at once, one `bytes.replace` for each kind of byte in it that needs escaping; then one more
puts what stands between the contents of two lines in the place of each newline.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from json import dumps

__all__ = ["MAX_PIECE", "LineEncoder", "has_long_line", "pieces"]

MAX_PIECE = 16 * 1024  # bytes of a line that dockerd keeps in one entry

# The bytes that a JSON string cannot hold as they are (RFC 8259), the newline left out; the backslash is to be replaced first.
_ESCAPES = {0x5C: b"\\\\", 0x22: b'\\"', 0x0D: b"\\r", 0x09: b"\\t"}
_ESCAPES |= {byte: b"\\u%04x" % byte for byte in range(0x20) if byte not in _ESCAPES and byte != 0x0A}
_PLAIN = bytes(byte for byte in range(256) if byte not in _ESCAPES)


class LineEncoder:
    """Encodes for one stream; remembers the text of the second it was asked for last."""

    def __init__(self, stream: str, attributes: Mapping[str, str]) -> None:
        attrs = ""
        if attributes:
            attrs = f'"attrs":{dumps(dict(attributes), ensure_ascii=False, separators=(",", ":"))},'
        # A lone surrogate in a label cannot be encoded.
        self._tail = f'","stream":"{stream}",{attrs}"time":"'.encode("utf-8", "replace")
        self._second = -1
        self._second_text = b""

    def encode_lines(self, data: bytes, time_ns: int) -> bytes:
        """Entries for `data`, which is whole lines, none longer than `MAX_PIECE`."""
        end = b"\\n" + self._end(time_ns)
        body = _escape(data)[:-1].replace(b"\n", end + b'{"log":"')
        return b'{"log":"%b%b' % (body, end)

    def encode_piece(self, piece: bytes, time_ns: int) -> bytes:
        """One entry for a piece of a line, with its newline or without."""
        body = _escape(piece).replace(b"\n", b"\\n")
        return b'{"log":"%b%b' % (body, self._end(time_ns))

    def _end(self, time_ns: int) -> bytes:
        second, fraction = divmod(time_ns, 1_000_000_000)
        if second != self._second:
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
            self._second = second
        return b'%b%b.%09dZ"}\n' % (self._tail, self._second_text, fraction)


def _escape(data: bytes) -> bytes:
    """`data` as the inside of a JSON string, but for newlines; what is no UTF-8 becomes U+FFFD."""
    if not data.isascii():
        data = _valid_utf8(data)
    special = data.translate(None, _PLAIN)
    if special:
        for byte, escape in _ESCAPES.items():
            if byte in special:
                data = data.replace(b"%c" % byte, escape)
    return data


def _valid_utf8(data: bytes) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()
    return data


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
