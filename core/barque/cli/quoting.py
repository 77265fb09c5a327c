"""Strings that cannot upset a terminal: in double quotes, as Go writes them, or with their control characters escaped."""

from __future__ import annotations

__all__ = ["go_quote", "printable"]

_ESCAPES = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\", '"': '\\"',
}  # fmt: skip


def go_quote(text: str) -> str:
    """`text` as strconv.Quote shows it."""
    return f'"{"".join(_letter(letter) for letter in text)}"'


def printable(text: str) -> str:
    """`text` from elsewhere (a registry, an archive) with its control characters escaped, except for line ends and tabs."""
    return "".join(_letter(letter) if _controls(letter) else letter for letter in text)


def _controls(letter: str) -> bool:
    return (letter < " " and letter not in "\n\t") or "\x7f" <= letter <= "\x9f"


def _letter(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if letter.isprintable():
        return letter
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:
        # A byte that was no UTF-8.
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
