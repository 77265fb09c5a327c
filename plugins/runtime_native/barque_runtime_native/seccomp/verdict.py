"""What a compiled filter says to a system call: an interpreter for classic BPF (seccomp(2), `struct seccomp_data`)."""

from __future__ import annotations

import os
from struct import pack, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ALLOW, LOG = 0x7FFF0000, 0x7FFC0000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBERS = {
    "x86_64": {"clone": 56, "setsid": 112, "ioctl": 16},
    "aarch64": {"clone": 220, "setsid": 157, "ioctl": 29},
}
LOAD, RETURN, JUMP, AND = 0x20, 0x06, 0x05, 0x54
EQUAL, GREATER, NOT_BELOW, ANY_BIT = 0x15, 0x25, 0x35, 0x45


def call_number(name: str) -> int:
    """The call's number on this machine."""
    return NUMBERS[os.uname().machine][name]


def allowed(program: bytes, number: int, arguments: Sequence[int] = ()) -> bool:
    """Whether the call passes, logged or not; an instruction unknown here counts as no."""
    return verdict(program, number, arguments) in (ALLOW, LOG)


def verdict(program: bytes, number: int, arguments: Sequence[int] = (), architecture: int = 0) -> int:
    """The filter's answer, SECCOMP_RET_*; -1 when it is not known here. Jumps go forward only, so it ends."""
    data = pack(
        "=iIQ6Q",
        number,
        architecture or ARCHITECTURES[os.uname().machine],
        0,
        *arguments,
        *[0] * (6 - len(arguments)),
    )
    accumulator = position = 0
    while position * 8 < len(program):
        code, true, false, value = unpack_from("=HBBI", program, position * 8)
        position += 1
        if code == LOAD:
            accumulator = unpack_from("=I", data, value)[0]
        elif code == RETURN:
            return int(value)
        elif code == JUMP:
            position += value
        elif code == AND:
            accumulator &= value
        elif code in (EQUAL, GREATER, NOT_BELOW, ANY_BIT):
            holds = {
                EQUAL: accumulator == value,
                GREATER: accumulator > value,
                NOT_BELOW: accumulator >= value,
                ANY_BIT: bool(accumulator & value),
            }[code]
            position += true if holds else false
        else:
            return -1
    return -1
