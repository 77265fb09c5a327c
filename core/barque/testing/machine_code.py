"""Two tiny assemblers with one face, for `barque.testing.static_init`: x86-64 and AArch64.

Instructions are written as bytes with the mnemonic beside. Sources: Intel 64 SDM volume 2, Arm ARM (A64), and the
kernel's system call conventions (syscall(2)). A program is assembled twice, with the same instructions of the same
length: the first pass learns the addresses of labels and data that the second one uses.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import ClassVar

__all__ = ["MACHINES", "X86_64", "Aarch64", "Assembler"]


class Assembler(ABC):
    """Machine code in the making. Arguments of a system call are numbered from 0.

    `known` is the assembler of the first pass, None in that pass.
    """

    elf_machine: ClassVar[int]
    system_calls: ClassVar[dict[str, int]]

    def __init__(self, start: int, known: Assembler | None = None) -> None:
        self._start = start
        self._code = bytearray()
        self._data = bytearray()
        self._labels: dict[int, int] = {}
        self._new = 0
        self._known = known

    def text(self) -> bytes:
        """Code, and behind it the data."""
        return bytes(self._code + self._data)

    def data(self, content: bytes) -> int:
        """Put `content` behind the code; its address."""
        code_size = len(self._known._code) if self._known else 0
        address = self._start + code_size + len(self._data)
        self._data += content
        return address

    def new_label(self) -> int:
        """A label, to be placed once."""
        self._new += 1
        return self._new

    def place(self, label: int) -> None:
        """The label is here."""
        self._labels[label] = self._here()

    def _here(self) -> int:
        return len(self._code)

    def _distance(self, label: int) -> int:
        """From the start of the next instruction to the label."""
        target = self._known._labels[label] if self._known else 0
        return target - self._here()

    def system_call(self, name: str) -> None:
        """Call the kernel with the arguments that are loaded, and keep the result."""
        self._system_call(self.system_calls[name])

    @abstractmethod
    def load(self, argument: int, value: int) -> None:
        """An argument is a number."""

    @abstractmethod
    def load_result(self, argument: int) -> None:
        """An argument is the result of the last call."""

    @abstractmethod
    def load_negated_result(self, argument: int) -> None:
        """An argument is minus the result of the last call."""

    @abstractmethod
    def keep(self, value: int | None) -> None:
        """Keep a number, or (None) the last result, over further calls."""

    @abstractmethod
    def load_kept(self, argument: int) -> None:
        """An argument is what was kept."""

    @abstractmethod
    def jump(self, label: int) -> None:
        """Go on at the label."""

    @abstractmethod
    def jump_if_zero(self, label: int) -> None:
        """Go on at the label when the last result is 0."""

    @abstractmethod
    def jump_unless_zero(self, label: int) -> None:
        """Go on at the label when the last result is not 0."""

    @abstractmethod
    def jump_if_negative(self, label: int) -> None:
        """Go on at the label when the last call failed."""

    @abstractmethod
    def _system_call(self, number: int) -> None: ...


class X86_64(Assembler):
    """rax: number and result; rdi rsi rdx r10 r8 r9: arguments; r12: the last result; r13: what is kept."""

    elf_machine = 62
    system_calls: ClassVar[dict[str, int]] = {
        "read": 0, "write": 1, "mmap": 9, "rt_sigprocmask": 14, "ioctl": 16, "nanosleep": 35, "getpid": 39,
        "clone": 56, "kill": 62, "uname": 63, "mknodat": 259, "mkdirat": 258, "openat": 257, "rt_sigtimedwait": 128,
        "mount": 165, "exit_group": 231, "unshare": 272, "setns": 308, "socket": 41, "chdir": 80, "getcwd": 79,
        "keyctl": 250, "dup3": 292, "ptrace": 101, "setuid": 105, "sethostname": 170,
    }  # fmt: skip
    _ARGUMENTS = (7, 6, 2, 10, 8, 9)
    _RESULT, _KEPT = 12, 13

    def _move_number(self, register: int, value: int) -> None:
        # movabs register, imm64
        self._code += bytes([0x48 | register >> 3, 0xB8 | register & 7])
        self._code += struct.pack("<Q", value & (1 << 64) - 1)

    def _move(self, target: int, source: int) -> None:
        # mov target, source
        self._code += bytes(
            [0x48 | (source >> 3) << 2 | target >> 3, 0x89, 0xC0 | (source & 7) << 3 | target & 7]
        )

    def load(self, argument: int, value: int) -> None:
        self._move_number(self._ARGUMENTS[argument], value)

    def load_result(self, argument: int) -> None:
        self._move(self._ARGUMENTS[argument], self._RESULT)

    def load_negated_result(self, argument: int) -> None:
        register = self._ARGUMENTS[argument]
        self._move(register, self._RESULT)
        self._code += bytes([0x48 | register >> 3, 0xF7, 0xD8 | register & 7])  # neg register

    def keep(self, value: int | None) -> None:
        if value is None:
            self._move(self._KEPT, self._RESULT)
        else:
            self._move_number(self._KEPT, value)

    def load_kept(self, argument: int) -> None:
        self._move(self._ARGUMENTS[argument], self._KEPT)

    def jump(self, label: int) -> None:
        self._branch(b"\xe9", label)  # jmp label

    def jump_if_zero(self, label: int) -> None:
        self._test_result()
        self._branch(b"\x0f\x84", label)  # je label

    def jump_unless_zero(self, label: int) -> None:
        self._test_result()
        self._branch(b"\x0f\x85", label)  # jne label

    def jump_if_negative(self, label: int) -> None:
        self._test_result()
        self._branch(b"\x0f\x88", label)  # js label

    def _test_result(self) -> None:
        self._code += b"\x4d\x85\xe4"  # test r12, r12

    def _branch(self, opcode: bytes, label: int) -> None:
        distance = self._distance(label) - len(opcode) - 4  # counted from the end of the instruction
        self._code += opcode + struct.pack("<i", distance)

    def _system_call(self, number: int) -> None:
        self._move_number(0, number)
        self._code += b"\x0f\x05"  # syscall
        self._move(self._RESULT, 0)


class Aarch64(Assembler):
    """x8: number; x0 to x5: arguments and result; x19: the last result; x20: what is kept."""

    elf_machine = 183
    system_calls: ClassVar[dict[str, int]] = {
        "dup3": 24, "ioctl": 29, "mknodat": 33, "mkdirat": 34, "mount": 40, "chdir": 49, "openat": 56, "read": 63, "write": 64,
        "exit_group": 94, "unshare": 97, "nanosleep": 101, "ptrace": 117, "kill": 129, "rt_sigprocmask": 135,
        "rt_sigtimedwait": 137, "setuid": 146, "uname": 160, "sethostname": 161, "getpid": 172, "socket": 198,
        "keyctl": 219, "clone": 220, "mmap": 222, "setns": 268, "getcwd": 17,
    }  # fmt: skip
    _RESULT, _KEPT = 19, 20

    def _word(self, instruction: int) -> None:
        self._code += struct.pack("<I", instruction)

    def _move_number(self, register: int, value: int) -> None:
        for part in range(4):
            opcode = 0xF2800000 if part else 0xD2800000  # movk | movz register, imm16, lsl 16 * part
            self._word(opcode | part << 21 | (value >> 16 * part & 0xFFFF) << 5 | register)

    def _move(self, target: int, source: int) -> None:
        self._word(0xAA0003E0 | source << 16 | target)  # mov target, source

    def load(self, argument: int, value: int) -> None:
        self._move_number(argument, value)

    def load_result(self, argument: int) -> None:
        self._move(argument, self._RESULT)

    def load_negated_result(self, argument: int) -> None:
        self._word(0xCB0003E0 | self._RESULT << 16 | argument)  # neg argument, x19

    def keep(self, value: int | None) -> None:
        if value is None:
            self._move(self._KEPT, self._RESULT)
        else:
            self._move_number(self._KEPT, value)

    def load_kept(self, argument: int) -> None:
        self._move(argument, self._KEPT)

    def jump(self, label: int) -> None:
        self._word(0x14000000 | self._words(label, 26))  # b label

    def jump_if_zero(self, label: int) -> None:
        self._word(0xB4000000 | self._words(label, 19) << 5 | self._RESULT)  # cbz x19, label

    def jump_unless_zero(self, label: int) -> None:
        self._word(0xB5000000 | self._words(label, 19) << 5 | self._RESULT)  # cbnz x19, label

    def jump_if_negative(self, label: int) -> None:
        # tbnz x19, #63, label
        self._word(0xB7F80000 | self._words(label, 14) << 5 | self._RESULT)

    def _words(self, label: int, bits: int) -> int:
        return (self._distance(label) >> 2) & (1 << bits) - 1

    def _system_call(self, number: int) -> None:
        self._move_number(8, number)
        self._word(0xD4000001)  # svc #0
        self._move(self._RESULT, 0)


MACHINES: dict[str, type[Assembler]] = {"x86_64": X86_64, "aarch64": Aarch64}
"""By the names of uname(2)."""
