"""Values of D-Bus as bytes, and back (D-Bus specification: "Type System", "Marshaling")."""

from __future__ import annotations

from struct import calcsize, error, pack, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}
ALIGNMENT = {"s": 4, "o": 4, "a": 4, "(": 8, "{": 8, "g": 1, "v": 1}


def split(signature: str) -> list[str]:
    """The complete types in a signature: `ssa(sv)` is `s`, `s`, `a(sv)`."""
    types, start, depth = [], 0, 0
    for index, letter in enumerate(signature):
        depth += (letter in "({") - (letter in ")}")
        if depth == 0 and letter != "a":
            types.append(signature[start : index + 1])
            start = index + 1
    return types


def alignment(kind: str) -> int:
    """Where a value of that type may begin."""
    return ALIGNMENT[kind[0]] if kind[0] in ALIGNMENT else calcsize(FIXED[kind[0]])


class Writer:
    """Values as bytes. A variant is a pair (signature, value), an array a list, a structure a tuple."""

    def __init__(self) -> None:
        self.data = bytearray()

    def pad(self, size: int) -> None:
        """Zeros up to the next multiple of `size`."""
        self.data += bytes(-len(self.data) % size)

    def put(self, kind: str, value: Any) -> None:
        """Append one value of the complete type `kind`."""
        self.pad(alignment(kind))
        first = kind[0]
        if first in FIXED:
            self.data += pack("<" + FIXED[first], value)
        elif first in "so":
            text = value.encode()
            self.data += pack("<I", len(text)) + text + b"\0"
        elif first == "g":
            self.data += bytes([len(value)]) + value.encode() + b"\0"
        elif first == "v":
            self.put("g", value[0])
            self.put(*value)
        elif first == "a":
            self._array(kind[1:], value)
        else:
            for each, member in zip(split(kind[1:-1]), value, strict=True):
                self.put(each, member)

    def _array(self, kind: str, values: Any) -> None:
        place = len(self.data)
        self.data += bytes(4)
        self.pad(alignment(kind))
        start = len(self.data)
        for value in values:
            self.put(kind, value)
        self.data[place : place + 4] = pack("<I", len(self.data) - start)


class Reader:
    """The inverse of `Writer`; a variant is read as its value. Errors: ValueError for bytes that are no such message."""

    def __init__(self, data: bytes, order: str = "<") -> None:
        self.data = data
        self.order = order
        self.place = 0

    def get(self, kind: str) -> Any:
        """The next value of the complete type `kind`."""
        try:
            return self._get(kind)
        except (error, KeyError, IndexError, UnicodeDecodeError) as problem:
            raise ValueError(f"not a D-Bus message: {problem}") from problem

    def _get(self, kind: str) -> Any:
        self.align(alignment(kind))
        first = kind[0]
        if first in FIXED:
            return self._number(FIXED[first])
        if first in "sog":
            return self._text(self._number("B" if first == "g" else "I"))
        if first == "v":
            return self._get(self._text(self._number("B")))
        if first == "a":
            end = self._number("I")
            self.align(alignment(kind[1:]))
            end += self.place
            values = []
            while self.place < end:
                values.append(self._get(kind[1:]))
            return values
        return tuple(self._get(each) for each in split(kind[1:-1]))

    def align(self, size: int) -> None:
        """Skip to the next multiple of `size`."""
        self.place += -self.place % size

    def _number(self, letter: str) -> Any:
        (value,) = unpack_from(self.order + letter, self.data, self.place)
        self.place += calcsize(letter)
        return value

    def _text(self, length: int) -> str:
        start, self.place = self.place, self.place + length + 1
        if self.place > len(self.data):
            raise ValueError("not a D-Bus message: it ends in a string")
        return self.data[start : start + length].decode()
