"""Docker's default seccomp profile: the decision for every system call, by the profile's text and as runc loads it."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from native_bundle import Box, make_rootfs, seccomp_profile, write_config

from barque.testing import need
from barque_runtime_native.seccomp.compiler import compile_filter, load_library
from barque_runtime_native.seccomp.verdict import verdict
from barque_runtime_native.spec import Section

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
ARCHITECTURES = {"x86_64": 0xC000003E, "x86": 0x40000003}
NAMESPACES = 0x7E020000
ATTACH, DETACH, GET_FILTER = 16, 17, 0x420C
# First arguments that the profile tells apart: personality, clone, socket.
ARGUMENTS = (
    0,
    2,
    3,
    8,
    16,
    38,
    40,
    0x20000,
    0x20008,
    0xFFFFFFFF,
    0x10000000,
    0x02000000,
    0x00020000,
    0x7E020000,
    2**40,
)


@pytest.fixture(scope="module")
def program():
    return compile_filter(Section(seccomp_profile(), "linux.seccomp")).program


def by_the_text(name, argument):
    """What the profile's JSON says, evaluated without any filter; None when nothing names the call."""
    for rule in seccomp_profile()["syscalls"]:
        if name not in rule["names"]:
            continue
        if all(holds(each, argument if each["index"] == 0 else 0) for each in rule.get("args") or ()):
            return ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else 0x00050000 | rule["errnoRet"]
    return None


def holds(condition, value):
    operator, wanted = condition["op"], condition["value"]
    return {
        "SCMP_CMP_EQ": value == wanted,
        "SCMP_CMP_NE": value != wanted,
        "SCMP_CMP_LT": value < wanted,
        "SCMP_CMP_LE": value <= wanted,
        "SCMP_CMP_GT": value > wanted,
        "SCMP_CMP_GE": value >= wanted,
        "SCMP_CMP_MASKED_EQ": value & wanted == condition.get("valueTwo", 0),
    }[operator]


@pytest.mark.row("S17")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_decision_for_every_call_is_what_the_profile_says(program, architecture):
    library = load_library()
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p
    token = ARCHITECTURES[architecture]
    names = {}
    for number in range(600):
        pointer = library.seccomp_syscall_resolve_num_arch(ctypes.c_uint32(token), number)
        if pointer:
            names[number] = ctypes.string_at(pointer).decode()
    assert len(names) > 300
    named = [name for rule in seccomp_profile()["syscalls"] for name in rule["names"]]
    last = max(number for number, name in names.items() if name in named)
    for number in range(600):
        # an argument of a 32-bit call has no upper half
        for argument in (each for each in ARGUMENTS if each < 2**32 or architecture == "x86_64"):
            expected = by_the_text(names.get(number), argument)
            if expected is None:
                expected = EPERM if number <= last else ENOSYS
            assert verdict(program, number, (argument,), token) == expected, (
                number,
                names.get(number),
                argument,
            )


@pytest.mark.row("S17")
def test_calls_that_matter_most(program):
    """By number, so that no table of names can be wrong with us (unistd_64.h)."""
    refused = {
        "mount": 165, "umount2": 166, "pivot_root": 155, "setns": 308, "unshare": 272, "bpf": 321, "keyctl": 250,
        "add_key": 248, "init_module": 175, "kexec_load": 246, "open_by_handle_at": 304, "perf_event_open": 298,
        "userfaultfd": 323, "reboot": 169, "swapon": 167, "io_uring_setup": 425, "quotactl": 179, "mount_setattr": 442,
    }  # fmt: skip
    assert {name for name, number in refused.items() if verdict(program, number) != EPERM} == set()
    assert verdict(program, 435) == ENOSYS  # clone3: glibc then tries clone
    for flag in (1 << bit for bit in range(32) if NAMESPACES >> bit & 1):
        assert verdict(program, 56, (flag | 17,)) == EPERM
    assert verdict(program, 56, (17,)) == ALLOW
    for family, answer in ((1, ALLOW), (2, ALLOW), (10, ALLOW), (16, ALLOW), (40, EPERM), (38, EPERM)):
        assert verdict(program, 41, (family,)) == answer, family
    for persona in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert verdict(program, 135, (persona,)) == ALLOW
    assert verdict(program, 135, (0x40000,)) == EPERM


def loaded_filter(pid):
    """The one filter of a process, as the kernel has it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(ATTACH, pid, None, None):
        pytest.skip(f"ptrace: {os.strerror(ctypes.get_errno())}")
    try:
        os.waitpid(pid, 0x40000000)
        size = libc.ptrace(GET_FILTER, pid, None, None)
        if size < 0:
            pytest.skip(f"PTRACE_SECCOMP_GET_FILTER: {os.strerror(ctypes.get_errno())}")
        buffer = ctypes.create_string_buffer(size * 8)
        assert libc.ptrace(GET_FILTER, pid, None, ctypes.cast(buffer, ctypes.c_void_p)) == size
        return buffer.raw
    finally:
        libc.ptrace(DETACH, pid, None, None)


@pytest.mark.root
@pytest.mark.row("S17")
def test_runc_loads_a_filter_of_the_same_decisions(tmp_path, program):
    need.tool("runc")
    box = Box(tmp_path, make_rootfs(tmp_path / "rootfs"))
    config = box.config("sleep", "1000")
    # runc loads it without CAP_SYS_ADMIN right before execve: the last and only one
    config["process"]["noNewPrivileges"] = True
    write_config(box.bundle, config)
    words = ["runc", "--root", str(tmp_path / "runc"), "--systemd-cgroup=false"]
    name = f"barque-peer-{os.getpid()}"
    log = tmp_path / "log"
    with log.open("wb") as output:
        subprocess.run(
            [*words, "run", "-d", "-b", str(box.bundle), name], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            check=True, timeout=60,
        )  # fmt: skip
    try:
        pid = json.loads(subprocess.run([*words, "state", name], capture_output=True, check=True).stdout)[
            "pid"
        ]
        peer = settled_filter(pid)
    finally:
        subprocess.run([*words, "delete", "-f", name], check=True, timeout=60)
        for path in Path("/sys/fs/cgroup").glob(f"*{box.cgroup}"):
            path.rmdir()
    different = [
        (token, number, argument)
        for token in (*ARCHITECTURES.values(), 0xC00000B7)
        for number in (*range(480), *(0x40000000 + n for n in range(0, 600, 7)))
        for argument in (0, 8, 40, 0x10000000, 0xFFFFFFFF, 2**40)
        if verdict(program, number, (argument,), token) != verdict(peer, number, (argument,), token)
    ]
    assert different == []


def settled_filter(pid):
    """Once it is the program's."""
    for _ in range(100):
        if Path(f"/proc/{pid}/comm").read_text().strip() == "sleep":
            break
        time.sleep(0.05)
    return loaded_filter(pid)
