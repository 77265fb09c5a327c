"""The system calls the shim needs and Python lacks, each wrapped once under the kernel's name.

The numbers are those of the unified table (same on x86-64, arm64, riscv and all newer ports).
Every wrapper raises OSError with the path it was called with; see the man pages, section 2.
"""

from __future__ import annotations

import ctypes
import os
import signal
from functools import cache

__all__ = [
    "AT_EMPTY_PATH",
    "AT_RECURSIVE",
    "AT_SYMLINK_NOFOLLOW",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWUSER",
    "MNT_DETACH",
    "MOUNT_ATTR_IDMAP",
    "MOUNT_ATTR_NODEV",
    "MOUNT_ATTR_NOSUID",
    "MOUNT_ATTR_RDONLY",
    "MS_BIND",
    "MS_PRIVATE",
    "MS_REC",
    "MS_REMOUNT",
    "MS_SLAVE",
    "OPEN_TREE_CLOEXEC",
    "OPEN_TREE_CLONE",
    "malloc_trim",
    "memory_at",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "openat2_in_root",
    "set_death_signal",
    "set_name",
    "set_subreaper",
    "setns",
    "umount2",
    "unshare",
]

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100
AT_RECURSIVE = 0x8000
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MNT_DETACH = 2
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_IDMAP = 0x00100000
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_SYMLINKS = 0x10
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10
SYS_OPEN_TREE = 428
SYS_MOVE_MOUNT = 429
SYS_OPENAT2 = 437
SYS_MOUNT_SETATTR = 442


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    libc.prctl.argtypes = [ctypes.c_int, *([ctypes.c_ulong] * 4)]
    libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
    return libc


def _check(result: int, path: str | None = None) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), path)
    return result


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc().unshare(ctypes.c_int(flags)))


def setns(fd: int, kind: int) -> None:
    """setns(2)."""
    _check(_libc().setns(ctypes.c_int(fd), ctypes.c_int(kind)))


def mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    """mount(2). The kernel reads at most one page of `data`."""
    words = (os.fsencode(source), os.fsencode(target), os.fsencode(kind))
    _check(_libc().mount(*words, flags, os.fsencode(data)), target)


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    _check(_libc().umount2(os.fsencode(target), ctypes.c_int(flags)), target)


def open_tree(path: str, flags: int) -> int:
    """open_tree(2), Linux 5.2: with OPEN_TREE_CLONE a detached copy of the mount below `path`."""
    number, at = ctypes.c_long(SYS_OPEN_TREE), ctypes.c_int(AT_FDCWD)
    return _check(_libc().syscall(number, at, os.fsencode(path), ctypes.c_uint(flags)), path)


def mount_setattr(fd: int, flags: int, attr_set: int, userns_fd: int = 0) -> None:
    """mount_setattr(2), Linux 5.12, on the mount `fd` itself (AT_EMPTY_PATH). `userns_fd`: the map for MOUNT_ATTR_IDMAP."""
    attr = _MountAttr(attr_set, 0, 0, userns_fd)
    size = ctypes.c_size_t(ctypes.sizeof(attr))
    number = ctypes.c_long(SYS_MOUNT_SETATTR)
    _check(_libc().syscall(number, ctypes.c_int(fd), b"", ctypes.c_uint(flags), ctypes.byref(attr), size))


def move_mount(fd: int, target: str) -> None:
    """move_mount(2), Linux 5.2: attach the detached mount `fd` at `target`, which may be a symbolic link."""
    number, at = ctypes.c_long(SYS_MOVE_MOUNT), ctypes.c_int(AT_FDCWD)
    flags = ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS)
    _check(_libc().syscall(number, ctypes.c_int(fd), b"", at, os.fsencode(target), flags), target)


def openat2_in_root(root: int, path: str, flags: int) -> int:
    """openat2(2), Linux 5.6: `path` as a process chrooted to the directory `root` would see it."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    number = ctypes.c_long(SYS_OPENAT2)
    return _check(
        _libc().syscall(number, ctypes.c_int(root), os.fsencode(path), ctypes.byref(how), size), path
    )


def set_name(name: str) -> None:
    """What `ps -o comm` and `top` show, at most 15 bytes; as prctl(PR_SET_NAME) does it."""
    fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, name.encode())
    os.close(fd)


def set_death_signal() -> None:
    """prctl(PR_SET_PDEATHSIG): this process, but no child of it, is killed when its parent ends."""
    _check(_libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def set_subreaper() -> None:
    """prctl(PR_SET_CHILD_SUBREAPER): orphans below this process become its children."""
    _check(_libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def malloc_trim() -> None:
    """Give the free pages of the C heap back; does nothing where the C library has no such call (musl)."""
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def memory_at(address: int, size: int) -> ctypes.Array[ctypes.c_char]:
    """`size` bytes of this process's own memory; assign to `raw` to overwrite them."""
    return (ctypes.c_char * size).from_address(address)
