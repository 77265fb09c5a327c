"""A compiled seccomp filter. Apart from the compiler, which needs libseccomp and ctypes."""

from __future__ import annotations

from barque_runtime_native.kernel.syscall_table import buffer

NEW_LISTENER = 8  # SECCOMP_FILTER_FLAG_NEW_LISTENER


class Filter:
    """A compiled filter: the BPF program and the flags for seccomp(2); `code` is the program where the kernel reads it."""

    __slots__ = ("code", "flags", "program")

    def __init__(self, program: bytes, flags: int) -> None:
        self.program = program
        self.flags = flags
        self.code = buffer(len(program), program)

    @property
    def notifies(self) -> bool:
        """Whether calls are handed to an agent that listens (SCMP_ACT_NOTIFY)."""
        return bool(self.flags & NEW_LISTENER)
