"""What the words of `linux.seccomp` do, each observed by system calls of a program below the filter."""

from __future__ import annotations

import re
import struct
import sys

import pytest
from native_bundle import make_rootfs, seccomp_profile, write_config
from native_fields import shows, shows_each
from native_schema import load

from barque.spi.errors import FailedPrecondition
from barque.testing import need
from barque_runtime_native.seccomp.compiler import compile_filter, load_library
from barque_runtime_native.spec import Section

pytestmark = pytest.mark.root

VALUES = load()["values"]
# What `mkdir` meets: (exit code of the shell, what it says). A shell says 128 + the signal; SIGSYS is 31.
OUTCOMES = {
    "SCMP_ACT_KILL": (159, ""),
    "SCMP_ACT_KILL_PROCESS": (159, ""),
    "SCMP_ACT_KILL_THREAD": (159, ""),
    "SCMP_ACT_TRAP": (159, ""),
    "SCMP_ACT_ERRNO": (1, "Operation not permitted"),
    "SCMP_ACT_TRACE": (1, "Function not implemented"),  # nobody traces
    "SCMP_ACT_ALLOW": (0, ""),
    "SCMP_ACT_LOG": (0, ""),
}


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    return make_rootfs(tmp_path_factory.mktemp("seccomp"))


def profile_without(*names):
    """Docker's default profile, in which calls of these names come to the default action."""
    profile = seccomp_profile()
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name not in names]
    profile["syscalls"] = [rule for rule in profile["syscalls"] if rule["names"]]
    return profile


def run_mkdir(box, profile):
    config = box.config("sh", "-c", "mkdir /dev/shm/new; exit $?")
    config["linux"]["seccomp"] = profile
    return box.run(config)


def check(result, outcome):
    code, text = outcome
    assert result.returncode == code, result
    assert text in result.stderr


@shows("linux.seccomp.syscalls[].names[]")
@shows_each({f"linux.seccomp.syscalls[].action={word}": outcome for word, outcome in OUTCOMES.items()})
def test_action(box, key, case):
    default = "SCMP_ACT_ERRNO" if key.endswith("ALLOW") else "SCMP_ACT_ALLOW"
    profile = profile_without("mkdir", "mkdirat") if default == "SCMP_ACT_ERRNO" else {"syscalls": []}
    profile["defaultAction"] = default
    profile["syscalls"].append({"names": ["mkdir", "mkdirat"], "action": key.partition("=")[2]})
    check(run_mkdir(box, profile), case)


@shows_each({f"linux.seccomp.defaultAction={word}": outcome for word, outcome in OUTCOMES.items()})
def test_default_action(box, key, case):
    profile = profile_without("mkdir", "mkdirat")
    profile["defaultAction"] = key.partition("=")[2]
    if key.endswith(("ALLOW", "LOG", "TRAP")) or "KILL" in key:
        del profile["defaultErrnoRet"]
    check(run_mkdir(box, profile), case)


@shows_each(["linux.seccomp.defaultErrnoRet", "linux.seccomp.syscalls[].errnoRet"])
def test_errno(box, key):
    profile = profile_without("mkdir", "mkdirat")
    if key.endswith("defaultErrnoRet"):
        profile["defaultErrnoRet"] = 28
    else:
        profile["syscalls"].append(
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
        )
    check(run_mkdir(box, profile), (1, "No space left on device"))


SIGNALS = {17: "CHLD", 18: "CONT", 28: "WINCH"}
OPERATORS = {
    "NE": (17, 28),
    "LT": (17,),
    "LE": (17, 18),
    "EQ": (18,),
    "GE": (18, 28),
    "GT": (28,),
    "MASKED_EQ": (18, 28),  # of 10001, 10010 and 11100 those whose lowest bit is 0
}


@shows(*(f"linux.seccomp.syscalls[].args[].{name}" for name in ("index", "value", "valueTwo", "op")))
@shows_each({f"linux.seccomp.syscalls[].args[].op=SCMP_CMP_{word}": case for word, case in OPERATORS.items()})
def test_operator(box, key, case):
    """kill(2) fails for signals that compare with 18 so."""
    argument = {"index": 1, "value": 18, "op": key.partition("=")[2]}
    if key.endswith("MASKED_EQ"):
        argument.update(value=1, valueTwo=0)
    script = "; ".join(f"kill -{name} $$ 2>/dev/null || echo {number}" for number, name in SIGNALS.items())
    config = box.config("sh", "-c", f"{script}; true")
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [argument]}],
    }
    assert tuple(map(int, box.run(config).stdout.split())) == case


# AUDIT_ARCH_* of include/uapi/linux/audit.h: the machine of ELF, with bit 31 for 64 bits, bit 30 for little-endian.
WIDE, LITTLE, N32 = 1 << 31, 1 << 30, 1 << 29
TOKENS = {
    "X86": 3 | LITTLE, "X86_64": 62 | WIDE | LITTLE, "X32": 62 | WIDE | LITTLE, "ARM": 40 | LITTLE,
    "AARCH64": 183 | WIDE | LITTLE, "LOONGARCH64": 258 | WIDE | LITTLE, "M68K": 4, "MIPS": 8, "MIPS64": 8 | WIDE,
    "MIPS64N32": 8 | WIDE | N32, "MIPSEL": 8 | LITTLE, "MIPSEL64": 8 | WIDE | LITTLE,
    "MIPSEL64N32": 8 | WIDE | LITTLE | N32, "PPC": 20, "PPC64": 21 | WIDE, "PPC64LE": 21 | WIDE | LITTLE, "S390": 22,
    "S390X": 22 | WIDE, "SH": 42 | LITTLE, "SHEB": 42, "PARISC": 15, "PARISC64": 15 | WIDE,
    "RISCV64": 243 | WIDE | LITTLE,
}  # fmt: skip


@shows_each({f"linux.seccomp.architectures[]=SCMP_ARCH_{word}": token for word, token in TOKENS.items()})
def test_architecture(key, case):
    """The filter compares with its token. No process of this machine has the other byte order: there is nothing to do."""
    rules = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "chown"], "action": "SCMP_ACT_ERRNO"}],
    }
    word = key.partition("=")[2]
    section = Section({**rules, "architectures": [word]}, "linux.seccomp")
    if not load_library().seccomp_arch_resolve_name(word.removeprefix("SCMP_ARCH_").lower().encode()):
        with pytest.raises(FailedPrecondition, match=f"linux.seccomp.architectures: .*{word}"):
            compile_filter(section)  # libseccomp is older than this word
        return
    values = [value for _, _, _, value in struct.iter_unpack("=HBBI", bytes(compile_filter(section).code))]
    same_order = bool(case & LITTLE) == (sys.byteorder == "little")
    assert (case in values) is same_order


# mov $20, %eax; int $0x80 (getpid of i386); mov $1, %eax; mov $7, %ebx; int $0x80 (exit 7)
MACHINE_CODE = bytes.fromhex("b814000000cd80b801000000bb07000000cd80")


def tiny_program():
    """A static ELF executable of x86-64 that makes system calls as i386 does."""
    base, size = 0x400000, 64 + 56
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "=HHIQQQIHHHHHH", 2, 62, 1, base + size, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    length = size + len(MACHINE_CODE)
    return header + struct.pack("=IIQQQQQQ", 1, 5, 0, base, base, length, length, 0x1000) + MACHINE_CODE


@shows("linux.seccomp.architectures[]=SCMP_ARCH_X86")
@pytest.mark.parametrize(("architectures", "code"), [(["SCMP_ARCH_X86"], 7), ([], 128 + 31)])
def test_calls_of_a_foreign_architecture(box, rootfs, architectures, code):
    (rootfs / "bin/tiny").write_bytes(tiny_program())
    (rootfs / "bin/tiny").chmod(0o755)
    config = box.config("sh", "-c", "/bin/tiny; exit $?")
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures}
    config["linux"]["seccomp"]["syscalls"] = [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]
    assert box.run(config).returncode == code


@shows_each(
    [f"linux.seccomp.flags[]={word}" for word in VALUES["linux.seccomp.flags[]"] if "WAIT" not in word]
)
def test_flag(box, key):
    word = key.partition("=")[2]
    need.tool("strace")
    config = box.config("true")
    config["linux"]["seccomp"]["flags"] = [word]
    write_config(box.bundle, config)
    log = box.directory / "trace"
    result = box.call(
        "run", "-b", str(box.bundle), "box", before=["strace", "-f", "-e", "trace=seccomp", "-o", str(log)]
    )
    assert result.returncode == 0, result.stderr
    [call] = re.findall(r"seccomp\(SECCOMP_SET_MODE_FILTER, (\S+),.*= 0", log.read_text())
    if word == "SECCOMP_FILTER_FLAG_TSYNC":
        assert call in ("0", word)  # it is for the other threads of the process: init has none
    else:
        assert call == word
