"""System calls that are newer than the profile's author could know: ENOSYS in place of the default action.

A libc tries a new call first and falls back to an old one on ENOSYS, but not on EPERM, which a profile's default gives.
So a call whose number is above every call the profile names gets ENOSYS, as runc does it, by a few instructions in
front of the compiled filter (classic BPF over `struct seccomp_data`, seccomp(2)).
"""

from __future__ import annotations

from struct import pack

LOAD, JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_NOT_BELOW, RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x06
NUMBER_OFFSET, ARCHITECTURE_OFFSET = 0, 4
X86_64, X32, X32_BIT = 0xC000003E, 0x4000003E, 0x40000000
ENOSYS = 0x00050000 | 38


def instruction(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    """One instruction; `true` and `false` are how many to skip."""
    return pack("=HBBI", code, true, false, value)


def prefix(last: dict[int, int]) -> bytes:
    """The instructions for `last`: architecture (AUDIT_ARCH_*) -> the highest number the profile names."""
    blocks = [
        (
            architecture,
            _x86_64_block(number, last.get(X32)) if architecture == X86_64 else _block(number),
        )
        for architecture, number in last.items()
        if architecture != X32
    ]
    code = [instruction(LOAD, ARCHITECTURE_OFFSET)]
    behind = sum(1 + len(block) for _, block in blocks)
    for architecture, block in blocks:
        behind -= 1 + len(block)
        code.append(instruction(JUMP_EQUAL, architecture, 0, len(block)))
        # a call that is not too new goes on behind all blocks
        for index, (op, value, true) in enumerate(block):
            left = len(block) - 1 - index
            code.append(instruction(op, left + behind if op == JUMP else value, true))
    return b"".join(code)


def _block(number: int) -> list[tuple[int, int, int]]:
    """(opcode, value, jump if true) for one architecture; the last one returns ENOSYS."""
    return [(LOAD, NUMBER_OFFSET, 0), (JUMP_GREATER, number, 1), (JUMP, 0, 0), (RETURN, ENOSYS, 0)]


def _x86_64_block(number: int, x32: int | None) -> list[tuple[int, int, int]]:
    """The same for the architecture whose numbers with one more bit are those of another, x32."""
    end = (RETURN, ENOSYS, 0)
    load = (LOAD, NUMBER_OFFSET, 0)
    leave = (JUMP, 0, 0)
    if x32 is not None:
        return [
            load,
            (JUMP_NOT_BELOW, X32_BIT, 2),
            (JUMP_GREATER, number, 3),
            leave,
            (JUMP_GREATER, x32, 1),
            leave,
            end,
        ]
    # numbers with the x32 bit are for the filter itself to judge
    return [load, (JUMP_NOT_BELOW, X32_BIT, 1), (JUMP_GREATER, number, 1), leave, end]
