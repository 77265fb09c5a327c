"""Numbers and argument types of the kernel calls in `syscalls`, and the call itself.

Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h. The machinery is that of ctypes,
taken from the extension module below it: `import ctypes` would cost a cold `barque-runtime` 2 ms, twice.
"""

from __future__ import annotations

import os
from _ctypes import (
    FUNCFLAG_PYTHONAPI,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    dlopen,
    dlsym,
    get_errno,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Simple = _SimpleCData[Any]
else:
    Simple = _SimpleCData


class _INT(Simple):
    """int"""

    _type_ = "i"


class _UINT(Simple):
    """unsigned int"""

    _type_ = "I"


class _LONG(Simple):
    """long"""

    _type_ = "l"


class _SIZE(Simple):
    """unsigned long, size_t"""

    _type_ = "L"


class _TEXT(Simple):
    """const char *"""

    _type_ = "z"


class _DATA(Simple):
    """void *"""

    _type_ = "P"


class Char(Simple):
    """char; an array of it is a buffer for the kernel to write to"""

    _type_ = "c"


class _Function(CFuncPtr):
    """`long syscall(long number, …)`, called with the interpreter lock held, errno kept aside."""

    _flags_ = FUNCFLAG_PYTHONAPI | FUNCFLAG_USE_ERRNO
    _restype_ = _LONG


# name: (number on x86_64, number on aarch64, argument types)
_TABLE: dict[str, tuple[int, int, tuple[type, ...]]] = {
    "bpf": (321, 280, (_INT, _DATA, _UINT)),
    "capset": (126, 91, (_TEXT, _TEXT)),
    "clone": (56, 220, (_SIZE, _SIZE, _SIZE, _SIZE, _SIZE)),
    "clone3": (435, 435, (_TEXT, _SIZE)),
    "close_range": (436, 436, (_UINT, _UINT, _UINT)),
    "fsconfig": (431, 431, (_INT, _UINT, _TEXT, _TEXT, _INT)),
    "fsmount": (432, 432, (_INT, _UINT, _UINT)),
    "fsopen": (430, 430, (_TEXT, _UINT)),
    "fstatfs": (138, 44, (_INT, _DATA)),
    "getcwd": (79, 17, (_DATA, _SIZE)),
    "ioprio_set": (251, 30, (_INT, _INT, _INT)),
    "keyctl": (250, 219, (_INT, _TEXT)),
    "mount": (165, 40, (_TEXT, _TEXT, _TEXT, _SIZE, _TEXT)),
    "mount_setattr": (442, 442, (_INT, _TEXT, _UINT, _TEXT, _SIZE)),
    "move_mount": (429, 429, (_INT, _TEXT, _INT, _TEXT, _UINT)),
    "open_tree": (428, 428, (_INT, _TEXT, _UINT)),
    "openat2": (437, 437, (_INT, _TEXT, _TEXT, _SIZE)),
    "personality": (135, 92, (_SIZE,)),
    "pidfd_getfd": (438, 438, (_INT, _INT, _UINT)),
    "pidfd_send_signal": (424, 424, (_INT, _INT, _DATA, _UINT)),
    "pivot_root": (155, 41, (_TEXT, _TEXT)),
    "prctl": (157, 167, (_INT, _SIZE, _SIZE, _SIZE, _SIZE)),
    "prlimit64": (302, 261, (_INT, _INT, _TEXT, _DATA)),
    "rt_sigaction": (13, 134, (_INT, _TEXT, _DATA, _SIZE)),
    "rt_sigprocmask": (14, 135, (_INT, _TEXT, _DATA, _SIZE)),
    "sched_setattr": (314, 274, (_INT, _TEXT, _UINT)),
    "seccomp": (317, 277, (_UINT, _UINT, _TEXT)),
    "set_mempolicy": (238, 237, (_INT, _TEXT, _SIZE)),
    "setdomainname": (171, 162, (_TEXT, _SIZE)),
    "setgroups": (116, 159, (_SIZE, _TEXT)),
    "setresgid": (119, 149, (_UINT, _UINT, _UINT)),
    "setresuid": (117, 147, (_UINT, _UINT, _UINT)),
    "sethostname": (170, 161, (_TEXT, _SIZE)),
    "setns": (308, 268, (_INT, _INT)),
    "signalfd4": (289, 74, (_INT, _TEXT, _SIZE, _INT)),
    "umount2": (166, 39, (_TEXT, _INT)),
    "unshare": (272, 97, (_INT,)),
}

_bound: dict[str, tuple[Any, int]] = {}


def bind_all() -> None:
    """Build every prototype now, so that a child after `clone3` allocates and looks up nothing for them."""
    for name in _TABLE:
        if name not in _bound:
            _bind(name)


def supported() -> bool:
    """Whether the table knows this machine's system call numbers."""
    return os.uname().machine in ("x86_64", "aarch64")


def _bind(name: str) -> tuple[Any, int]:
    x86_64, aarch64, types = _TABLE[name]
    program = dlopen(None, os.RTLD_NOW)  # type: ignore[arg-type]
    function = _Function(dlsym(program, "syscall"))
    function.argtypes = (_LONG, *types)
    _bound[name] = function, aarch64 if os.uname().machine == "aarch64" else x86_64
    return _bound[name]


def call(name: str, *arguments: object) -> int:
    """Make the call. Errors: OSError whose `filename` is the call's name."""
    function, number = _bound.get(name) or _bind(name)
    result: int = function(number, *arguments)
    if result < 0:
        error = get_errno()
        raise OSError(error, os.strerror(error), name)
    return result


def buffer(size: int, data: bytes = b"") -> Any:
    """A buffer of `size` bytes that begins with `data`; `.raw` is its content, `.value` that up to the first NUL."""
    made: Any = (Char * size)()
    made.raw = data
    return made
