"""The key sequence that detaches a client from a terminal."""

from __future__ import annotations

from barque.spi.errors import InvalidArgument

__all__ = ["DEFAULT_KEYS", "DetachKeys"]

DEFAULT_KEYS = "ctrl-p,ctrl-q"
_CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


class DetachKeys:
    """Finds the sequence in what a client types, across reads; its beginning is held back until it is decided."""

    def __init__(self, keys: str) -> None:
        self._keys = bytes(_code(key) for key in (keys or DEFAULT_KEYS).split(","))
        self._matched = 0

    def scan(self, data: bytes) -> tuple[bytes, bool]:
        """What of `data` goes on to the terminal, and whether the sequence is complete."""
        if not self._matched and self._keys[0] not in data:
            return data, False
        passed = bytearray()
        for byte in data:
            if byte != self._keys[self._matched]:
                passed += self._keys[: self._matched]
                self._matched = 0
            if byte == self._keys[self._matched]:
                self._matched += 1
            else:
                passed.append(byte)
            if self._matched == len(self._keys):
                return bytes(passed), True
        return bytes(passed), False


def _code(key: str) -> int:
    """`a` is itself; `ctrl-a` is 1, and so on. Raises InvalidArgument in Docker's words."""
    if len(key) == 1 and key.isascii():
        return ord(key)
    letter = key.removeprefix("ctrl-")
    if letter != key and len(letter) == 1 and letter.lower() in _CONTROLS:
        return _CONTROLS.index(letter.lower())
    raise InvalidArgument(
        f"invalid detach keys ({key}) provided", hint="write keys as `a` or `ctrl-a`, with commas between"
    )
