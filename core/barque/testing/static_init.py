"""Small static programs for tests of runtimes: written in Python as steps, assembled here, without compiler or image.

    program = elf(write(1, b"hello\\n"), exit_with(3))            # the bytes of an executable
    program = elf(call("unshare", CLONE_NEWUSER), exit_with_error())  # exits with the errno of the call, 0 without one

A step leaves its system call's result where `RESULT` finds it in the next. `BUFFER` is the address of 64 KiB of
memory. What a process *is* (ids, limits, namespaces, mounts) is better looked at from outside, through /proc,
while it waits in `pause()`.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Callable
from typing import Final

from barque.testing.machine_code import MACHINES, Assembler

__all__ = [
    "AT_FDCWD",
    "BUFFER",
    "BUFFER_SIZE",
    "RESULT",
    "Step",
    "call",
    "copy",
    "elf",
    "exit_with",
    "exit_with_error",
    "exit_with_result",
    "loop",
    "pause",
    "sleep",
    "spawn",
    "wait_for_signal",
    "write",
]

Step = Callable[[Assembler], None]
Argument = int | bytes | object

RESULT: Final = object()
"""As an argument: what the last system call returned."""
BUFFER: Final = 0x800000
BUFFER_SIZE: Final = 0x10000
AT_FDCWD: Final = -100

_BASE = 0x400000
_PAGE = 0x1000
_SIGCHLD = 17
_SIG_SETMASK = 2
_ALL_SIGNALS = b"\xff" * 8
_EI_IDENT = b"\x7fELF\x02\x01\x01" + bytes(9)  # 64 bits, little-endian
_ET_EXEC, _PT_LOAD = 2, 1
_HEADERS = 64 + 2 * 56  # the ELF header and two program headers


def call(name: str, *arguments: Argument) -> Step:
    """A system call. Bytes are put into the program, and their address is the argument; `RESULT` is allowed."""

    def emit(code: Assembler) -> None:
        for number, argument in enumerate(arguments):
            if argument is RESULT:
                code.load_result(number)
            elif isinstance(argument, bytes):
                code.load(number, code.data(argument))
            elif isinstance(argument, int):
                code.load(number, argument)
            else:
                raise TypeError(f"{name}: {argument!r} is no argument of a system call")
        code.system_call(name)

    return emit


def write(fd: int, text: bytes) -> Step:
    """Write `text` to `fd`."""
    return call("write", fd, text, len(text))


def exit_with(code: int) -> Step:
    """End with an exit code."""
    return call("exit_group", code)


def exit_with_result() -> Step:
    """End with the result of the last call (its low eight bits) as exit code."""
    return call("exit_group", RESULT)


def exit_with_error() -> Step:
    """End with the errno of the last call, 0 when it succeeded."""

    def emit(code: Assembler) -> None:
        failed, end = code.new_label(), code.new_label()
        code.jump_if_negative(failed)
        exit_with(0)(code)
        code.place(failed)
        code.load_negated_result(0)
        code.system_call("exit_group")
        code.place(end)

    return emit


def loop(*steps: Step) -> Step:
    """Do `steps` again and again; with none, use the processor."""

    def emit(code: Assembler) -> None:
        again = code.new_label()
        code.place(again)
        for step in steps:
            step(code)
        code.jump(again)

    return emit


def pause() -> Step:
    """Wait for ever: ends by a signal that kills. An init of a pid namespace is not killed by TERM."""
    return loop(sleep(1000))


def sleep(seconds: float) -> Step:
    """Wait."""
    whole = int(seconds)
    return call("nanosleep", struct.pack("<qq", whole, int((seconds - whole) * 1e9)), 0)


def copy(source: Argument, target: int) -> Step:
    """Copy what a descriptor gives to another until its end (or an error). `source` may be `RESULT`."""

    def emit(code: Assembler) -> None:
        code.keep(source if isinstance(source, int) else None)
        again, end = code.new_label(), code.new_label()
        code.place(again)
        code.load_kept(0)
        code.load(1, BUFFER)
        code.load(2, BUFFER_SIZE)
        code.system_call("read")
        code.jump_if_negative(end)
        code.jump_if_zero(end)
        call("write", target, BUFFER, RESULT)(code)
        code.jump(again)
        code.place(end)

    return emit


def spawn(*steps: Step) -> Step:
    """Fork; the child does `steps` and then pauses. `RESULT` in the parent is its pid, or minus an errno."""

    def emit(code: Assembler) -> None:
        parent = code.new_label()
        code.load(0, _SIGCHLD)
        for number in range(1, 5):
            code.load(number, 0)
        code.system_call("clone")
        code.jump_unless_zero(parent)
        for step in (*steps, pause()):
            step(code)
        code.place(parent)

    return emit


def wait_for_signal(ready: bytes) -> Step:
    """Block all signals, write `ready` to stdout, wait for a signal: `RESULT` is its number."""

    def emit(code: Assembler) -> None:
        call("rt_sigprocmask", _SIG_SETMASK, _ALL_SIGNALS, 0, 8)(code)
        write(1, ready)(code)
        call("rt_sigtimedwait", _ALL_SIGNALS, 0, 0, 8)(code)

    return emit


def elf(*steps: Step, machine: str = "") -> bytes:
    """The executable that does `steps` on `machine` (default: this host's): `x86_64` or `aarch64`."""
    name = machine or platform.machine()
    if name not in MACHINES:
        raise NotImplementedError(
            f"no assembler for {name}: barque.testing.machine_code has {list(MACHINES)}"
        )
    entry = _BASE + _HEADERS
    code: Assembler | None = None
    for _ in range(2):  # the first pass finds out where things are, the second writes them
        code = MACHINES[name](entry, known=code)
        for step in steps:
            step(code)
        exit_with(0)(code)
    assert code is not None
    text = code.text()
    size = _HEADERS + len(text)
    header = _EI_IDENT + struct.pack(
        "<HHIQQQIHHHHHH", _ET_EXEC, code.elf_machine, 1, entry, 64, 0, 0, 64, 56, 2, 0, 0, 0
    )
    segments = _segment(5, 0, _BASE, size, size) + _segment(6, 0, BUFFER, 0, BUFFER_SIZE)
    return header + segments + text


def _segment(flags: int, offset: int, address: int, in_file: int, in_memory: int) -> bytes:
    return struct.pack("<IIQQQQQQ", _PT_LOAD, flags, offset, address, address, in_file, in_memory, _PAGE)
