"""`linux.seccomp`: compiled by libseccomp in the caller, kept, and loaded by the child.

libseccomp(3) knows the system calls of every architecture and makes the classic BPF program; the kernel gets it by
seccomp(2) itself, because after the container's root is entered nothing of a library may be looked up any more.
"""

from __future__ import annotations

import ctypes
import os

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque_runtime_native.seccomp.filter import Filter
from barque_runtime_native.seccomp.flags import read_flags
from barque_runtime_native.seccomp.newer import prefix
from barque_runtime_native.spec import MAX_UINT64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section

KILL_PROCESS, KILL_THREAD, TRAP, ERRNO = 0x80000000, 0, 0x00030000, 0x00050000
NOTIFY, TRACE, LOG, ALLOW = 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000
ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD, "SCMP_ACT_KILL_THREAD": KILL_THREAD, "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": TRAP, "SCMP_ACT_ERRNO": ERRNO, "SCMP_ACT_TRACE": TRACE, "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_LOG": LOG, "SCMP_ACT_NOTIFY": NOTIFY,
}  # fmt: skip
WITH_DATA = (ERRNO, TRACE)
OPERATORS = {
    "SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}  # fmt: skip
# What these let pass they are to judge also when it is newer than the profile.
PERMISSIVE = (ALLOW, LOG, TRACE, NOTIFY)
ARCHITECTURES = (
    "X86 X86_64 X32 ARM AARCH64 LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PARISC PARISC64 "
    "PPC PPC64 PPC64LE RISCV64 S390 S390X SH SHEB"
).split()
ATTRIBUTE_BAD_ARCHITECTURE, ATTRIBUTE_NO_NEW_PRIVS, ATTRIBUTE_OPTIMIZE = 2, 3, 8
EEXIST, EPERM, EDOM, ENOSYS = 17, 1, 33, 38
UNKNOWN_CALL = -1
ACTION_BITS = 0xFFFF0000
MAX_ERRNO = 4095


class _Argument(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


_library: ctypes.CDLL | None = None


def load_library() -> ctypes.CDLL:
    """libseccomp. Errors: FailedPrecondition when it is not installed."""
    global _library
    if _library is None:
        try:
            library = ctypes.CDLL("libseccomp.so.2")
        except OSError as error:
            raise FailedPrecondition(
                "linux.seccomp needs libseccomp.so.2", hint="install the package libseccomp2"
            ) from error
        library.seccomp_init.restype = ctypes.c_void_p
        library.seccomp_init.argtypes = (ctypes.c_uint32,)
        library.seccomp_release.argtypes = (ctypes.c_void_p,)
        library.seccomp_release.restype = None
        library.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
        library.seccomp_arch_resolve_name.argtypes = (ctypes.c_char_p,)
        library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
        library.seccomp_arch_native.restype = ctypes.c_uint32
        library.seccomp_arch_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
        library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
        library.seccomp_syscall_resolve_name_arch.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
        library.seccomp_rule_add_array.argtypes = (
            ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p,
        )  # fmt: skip
        library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
        _library = library
    return _library


def read_action(section: Section, key: str, data_key: str) -> int:
    """An action with its errno; EPERM when the configuration names none."""
    action = section.choice(key, ACTIONS)
    if action is None:
        raise InvalidArgument(f"{section.path(key)} is missing")
    data = section.integer(data_key, 0, 0xFFFF)
    if action in WITH_DATA:
        value = EPERM if data is None else data
        if action == ERRNO and value > MAX_ERRNO:
            raise InvalidArgument(f"{section.path(data_key)} is above {MAX_ERRNO}")
        return action | value
    if data:
        raise InvalidArgument(f"{section.path(data_key)} has no meaning for {section.text(key)}")
    return action


def compile_filter(section: Section) -> Filter:
    """Compile `linux.seccomp`. A call that libseccomp does not know is skipped: it may be newer than the library."""
    library = load_library()
    flags = read_flags(section)
    default = read_action(section, "defaultAction", "defaultErrnoRet")
    context = library.seccomp_init(default)
    if not context:
        raise InvalidArgument(f"{section.path('defaultAction')}: libseccomp refused it")
    try:
        library.seccomp_attr_set(context, ATTRIBUTE_NO_NEW_PRIVS, 0)
        # A binary search over call numbers in place of one long chain; libseccomp before 2.5 has no such attribute.
        library.seccomp_attr_set(context, ATTRIBUTE_OPTIMIZE, 2)
        architectures = _add_architectures(library, context, section)
        for rule in section.sections("syscalls"):
            _add_rule(library, context, rule, default)
        program = _export(library, context)
        if default != ERRNO | ENOSYS and default & ACTION_BITS not in PERMISSIVE:
            program = prefix(last_calls(library, architectures, section)) + program
        return Filter(program, flags)
    finally:
        library.seccomp_release(context)


def last_calls(library: ctypes.CDLL, architectures: list[int], section: Section) -> dict[int, int]:
    """For each architecture the highest call number that the profile names."""
    names = [name.encode() for rule in section.sections("syscalls") for name in rule.texts("names")]
    resolve = library.seccomp_syscall_resolve_name_arch
    found = {token: max((resolve(token, name) for name in names), default=-1) for token in architectures}
    return {token: number for token, number in found.items() if number >= 0}


def _add_architectures(library: ctypes.CDLL, context: int, section: Section) -> list[int]:
    """Add them to the native one; returns the tokens of all."""
    tokens = [library.seccomp_arch_native()]
    for word in section.texts("architectures"):
        prefix_, _, name = word.partition("SCMP_ARCH_")
        if prefix_ or name not in ARCHITECTURES:
            raise InvalidArgument(f"{section.path('architectures')}: unknown architecture {word!r}")
        token = library.seccomp_arch_resolve_name(name.lower().encode())
        if not token:
            raise FailedPrecondition(
                f"{section.path('architectures')}: the installed libseccomp does not know {word}",
                hint="install libseccomp 2.6 or leave it out: no process of this machine makes such calls",
            )
        result = library.seccomp_arch_add(context, token)
        # EDOM: of the other byte order; no process of this machine can make such calls
        if result not in (0, -EEXIST, -EDOM):
            raise InvalidArgument(f"{section.path('architectures')}: {word}: {os.strerror(-result)}")
        if result != -EDOM and token not in tokens:
            tokens.append(token)
    return tokens


def _add_rule(library: ctypes.CDLL, context: int, rule: Section, default: int) -> None:
    action = read_action(rule, "action", "errnoRet")
    if action == default:
        return
    groups = argument_groups(rule.sections("args"))
    for name in rule.texts("names"):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == UNKNOWN_CALL:
            continue
        for group in groups:
            array = (_Argument * len(group))(*(_Argument(*each) for each in group))
            result = library.seccomp_rule_add_array(context, action, number, len(group), array)
            if result < 0:
                raise InvalidArgument(f"{rule.name}: {name}: libseccomp refused it: {os.strerror(-result)}")


def argument_groups(arguments: list[Section]) -> list[list[tuple[int, int, int, int]]]:
    """Conditions that must hold together. As runc does: two on the same argument are alternatives, each its own rule."""
    found = []
    for section in arguments:
        operator = section.choice("op", OPERATORS)
        index, value = section.integer("index", 0, 5), section.integer("value", 0, MAX_UINT64)
        if operator is None or index is None or value is None:
            raise InvalidArgument(f"{section.name} needs index, value and op")
        found.append((index, operator, value, section.integer("valueTwo", 0, MAX_UINT64) or 0))
    if len({argument[0] for argument in found}) < len(found):
        return [[argument] for argument in found]
    return [found]


def _export(library: ctypes.CDLL, context: int) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        result = library.seccomp_export_bpf(context, fd)
        if result < 0:
            raise InvalidArgument(f"linux.seccomp: libseccomp cannot compile it: {os.strerror(-result)}")
        size = os.lseek(fd, 0, os.SEEK_CUR)
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)
