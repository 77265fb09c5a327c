"""A program of three system calls: it makes a detached, read-only clone of the interpreter's mount and executes the
interpreter from it, with its own arguments after some that are fixed (CVE-2019-5736; see `command`).

As a script this would need an interpreter, which is the very thing to be avoided; so it is machine code, written here
instruction by instruction. ELF: elf(5). Numbers of system calls: arch/x86/entry/syscalls/syscall_64.tbl.
Only x86-64; elsewhere `barque-runtime` does without.
"""

from __future__ import annotations

import os
from struct import pack

BASE = 0x400000
HEADERS = 64 + 56
OPEN_TREE, MOUNT_SETATTR, EXECVEAT, EXECVE, EXIT = 428, 442, 322, 59, 60
OPEN_TREE_CLONE_CLOEXEC = 1 | os.O_CLOEXEC
MOUNT_ATTR_RDONLY = 1
AT_EMPTY_PATH = 0x1000
# The stack at the start: argc, argv[0] …, NULL, envp[0] …, NULL. rsp stays there; r13 is envp, r14 the clone.
CODE_SIZE = 512


class Data:
    """Bytes that follow the code, and their addresses."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.bytes = bytearray()

    def add(self, data: bytes) -> int:
        """Append; the address."""
        address = self.base + len(self.bytes)
        self.bytes += data
        return address

    def text(self, text: str) -> int:
        """Append a C string; the address."""
        return self.add(os.fsencode(text) + b"\0")


def program(interpreter: list[str], otherwise: list[str]) -> bytes:
    """The executable: `interpreter` (path first) with the program's own arguments added; when the mount cannot be cloned
    or the interpreter is gone, `otherwise` in the same way. Empty for a machine whose instructions are not known."""
    if os.uname().machine != "x86_64":
        return b""
    data = Data(BASE + HEADERS + CODE_SIZE)
    attributes = data.add(pack("<4Q", MOUNT_ATTR_RDONLY, 0, 0, 0))
    path = data.text(interpreter[0])
    empty = data.text("")
    code = b"".join((
        b"\x4c\x8b\x24\x24",                                # mov r12, [rsp]             argc
        b"\x4e\x8d\x6c\xe4\x10",                            # lea r13, [rsp+r12*8+16]    envp
        move("rdi", -100), move("rsi", path), move("rdx", OPEN_TREE_CLONE_CLOEXEC), system(OPEN_TREE),
        b"\x49\x89\xc6",                                    # mov r14, rax               the clone
        b"\x4c\x89\xf7",                                    # mov rdi, r14
        move("rsi", empty), move("rdx", AT_EMPTY_PATH), move("r10", attributes), move("r8", 32), system(MOUNT_SETATTR),
        b"\x48\x85\xc0",                                    # test rax, rax
        b"\x0f\x85",                                        # jnz otherwise (distance below)
    ))  # fmt: skip
    ahead = b"".join((
        arguments(interpreter, data),
        b"\x4c\x89\xf7",                                    # mov rdi, r14
        move("rsi", empty),
        b"\x48\x89\xda",                                    # mov rdx, rbx               argv
        b"\x4d\x89\xea",                                    # mov r10, r13               envp
        move("r8", AT_EMPTY_PATH), system(EXECVEAT),
    ))  # fmt: skip
    last = b"".join((
        arguments(otherwise, data),
        move("rdi", data.text(otherwise[0])),
        b"\x48\x89\xde",                                    # mov rsi, rbx               argv
        b"\x4c\x89\xea",                                    # mov rdx, r13               envp
        system(EXECVE),
        move("rdi", 126), system(EXIT),
    ))  # fmt: skip
    code += pack("<i", len(ahead)) + ahead + last
    return headers(CODE_SIZE + len(data.bytes)) + code.ljust(CODE_SIZE, b"\xcc") + bytes(data.bytes)


def arguments(words: list[str], data: Data) -> bytes:
    """Write `words` over argc and argv[0] and below them, so that argv[1] follows; rbx is the new argv."""
    code = b""
    for index, word in enumerate(reversed(words)):
        code += move("rax", data.text(word))
        code += b"\x48\x89\x84\x24" + pack("<i", 8 - 8 * index)  # mov [rsp+8-8*index], rax
    return code + b"\x48\x8d\x9c\x24" + pack("<i", 16 - 8 * len(words))  # lea rbx, [rsp+16-8*len]


def move(register: str, value: int) -> bytes:
    """mov register, value (32 bits, sign extended)."""
    prefix = {
        "rax": b"\x48\xc7\xc0",
        "rdi": b"\x48\xc7\xc7",
        "rsi": b"\x48\xc7\xc6",
        "rdx": b"\x48\xc7\xc2",
        "r10": b"\x49\xc7\xc2",
        "r8": b"\x49\xc7\xc0",
    }
    return prefix[register] + pack("<i", value)


def system(number: int) -> bytes:
    """The system call."""
    return move("rax", number) + b"\x0f\x05"


def headers(size: int) -> bytes:
    """ELF header and one segment, readable and executable, that is the whole file of `size` bytes after the headers."""
    total = HEADERS + size
    elf = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    elf += pack("<HHIQQQIHHHHHH", 2, 62, 1, BASE + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return elf + pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, total, total, 0x1000)
