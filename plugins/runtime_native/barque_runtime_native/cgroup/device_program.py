"""Which devices a container may use, on cgroup v2: a small eBPF program.

A program of type BPF_PROG_TYPE_CGROUP_DEVICE is called with `struct bpf_cgroup_dev_ctx` {u32 access_type; u32 major;
u32 minor;} and returns 1 to allow.
"""

from __future__ import annotations

import os
from _ctypes import addressof
from struct import pack, pack_into

from barque_runtime_native.cgroup.devices import ANY, DeviceRule
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.kernel.syscall_table import buffer

# eBPF: opcodes of include/uapi/linux/bpf.h and bpf_common.h
LOAD_WORD, MOVE, EXIT = 0x61, 0xB7, 0x95
MOVE_REGISTER, AND, RIGHT_SHIFT = 0xBF, 0x57, 0x77
JUMP_EQUAL, JUMP_NOT_EQUAL, JUMP_NOT_EQUAL_REGISTER = 0x15, 0x55, 0x5D
BPF_PROG_LOAD, BPF_PROG_ATTACH = 5, 8
PROGRAM_TYPE_CGROUP_DEVICE, ATTACH_CGROUP_DEVICE = 15, 6
# Programs above are asked as well, and a systemd in the container can add its own below.
BPF_F_ALLOW_MULTI = 2
ACCESS = {"m": 1, "r": 2, "w": 4}
KIND = {"b": 1, "c": 2}


def instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One eBPF instruction."""
    return pack("=BBhI", code, source << 4 | destination, offset, value & 0xFFFFFFFF)


def compile_program(rules: list[DeviceRule]) -> bytes:
    """A program with the meaning of the rules: of those that match, the last decides; without one, deny.

    Registers: r1 context, r2 device type, r3 access asked for, r4 major, r5 minor.
    """
    code = [
        instruction(LOAD_WORD, 2, 1, 0),
        instruction(MOVE_REGISTER, 3, 2),
        instruction(AND, 2, value=0xFFFF),
        instruction(RIGHT_SHIFT, 3, value=16),
        instruction(LOAD_WORD, 4, 1, 4),
        instruction(LOAD_WORD, 5, 1, 8),
    ]
    for rule in reversed(rules):
        code.extend(_compile_rule(rule))
        if rule.kind == "a":
            # it matches always: the verifier refuses code that cannot be reached
            return b"".join(code)
    return b"".join([*code, instruction(MOVE, 0, value=0), instruction(EXIT)])


def _compile_rule(rule: DeviceRule) -> list[bytes]:
    """Tests that jump past the verdict when the rule does not match."""
    verdict = [instruction(MOVE, 0, value=int(rule.allow)), instruction(EXIT)]
    tests: list[tuple[int, int, int]] = []
    if rule.kind != "a":
        tests.append((JUMP_NOT_EQUAL, 2, KIND[rule.kind]))
        if rule.major != ANY:
            tests.append((JUMP_NOT_EQUAL, 4, rule.major))
        if rule.minor != ANY:
            tests.append((JUMP_NOT_EQUAL, 5, rule.minor))
        mask = sum(ACCESS[letter] for letter in set(rule.access))
        if mask != 7:
            return _with_access(rule, mask, tests, verdict)
    return [*_jumps(tests, len(verdict)), *verdict]


def _with_access(
    rule: DeviceRule, mask: int, tests: list[tuple[int, int, int]], verdict: list[bytes]
) -> list[bytes]:
    """A rule for some kinds of access: an allow must cover all that is asked for, a deny any part of it."""
    copy = [instruction(MOVE_REGISTER, 6, 3), instruction(AND, 6, value=mask)]
    none = instruction(JUMP_EQUAL, 6, 0, len(verdict), 0)
    not_all = instruction(JUMP_NOT_EQUAL_REGISTER, 6, 3, len(verdict))
    tail = [*copy, not_all if rule.allow else none, *verdict]
    return [*_jumps(tests, len(tail)), *tail]


def _jumps(tests: list[tuple[int, int, int]], behind: int) -> list[bytes]:
    return [
        instruction(code, register, 0, len(tests) - 1 - index + behind, value)
        for index, (code, register, value) in enumerate(tests)
    ]


def attach_v2(directory: str, rules: list[DeviceRule]) -> None:
    """Load the program and attach it to a v2 cgroup; it lives as long as the cgroup."""
    program = compile_program(rules)
    code = buffer(len(program), program)
    licence = buffer(11, b"Apache-2.0")
    attributes = buffer(128)
    pack_into(
        "=IIQQ", attributes, 0, PROGRAM_TYPE_CGROUP_DEVICE, len(program) // 8, addressof(code),
        addressof(licence),
    )  # fmt: skip
    loaded = syscalls.bpf(BPF_PROG_LOAD, attributes)
    try:
        cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            attributes = buffer(128)
            pack_into("=IIII", attributes, 0, cgroup, loaded, ATTACH_CGROUP_DEVICE, BPF_F_ALLOW_MULTI)
            syscalls.bpf(BPF_PROG_ATTACH, attributes)
        finally:
            os.close(cgroup)
    finally:
        os.close(loaded)
