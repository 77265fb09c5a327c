"""A compiled seccomp filter. Apart from the compiler, which needs libseccomp and ctypes."""

from __future__ import annotations

from barque_runtime_native.syscall_table import buffer


class Filter:
    """A compiled filter: the BPF program and the flags for seccomp(2); `code` is the program where the kernel reads it."""

    __slots__ = ("code", "flags", "program")

    def __init__(self, program: bytes, flags: int) -> None:
        self.program = program
        self.flags = flags
        self.code = buffer(len(program), program)
