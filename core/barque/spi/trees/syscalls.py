"""System calls that Python's `os` lacks, each wrapped once under the kernel's name. OSError on failure."""

from __future__ import annotations

import ctypes
import os

__all__ = [
    "CLONE_NEWNS",
    "MS_PRIVATE",
    "MS_REC",
    "RESOLVE_BENEATH",
    "RESOLVE_IN_ROOT",
    "RESOLVE_NO_MAGICLINKS",
    "RESOLVE_NO_SYMLINKS",
    "RESOLVE_NO_XDEV",
    "fallocate",
    "getdents64",
    "mount",
    "mount_setattr",
    "open_tree",
    "openat2",
    "setns",
    "sync_file_range",
    "syncfs",
    "unshare",
]

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

CLONE_NEWNS = 0x00020000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
_FALLOC_FL_KEEP_SIZE = 1
_SYNC_FILE_RANGE_WRITE = 2

# The same numbers on every architecture (added after the tables were unified).
_SYS_OPEN_TREE = 428
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def _check(result: int, path: bytes | str | None = None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def openat2(dir_fd: int, path: bytes, flags: int, resolve: int) -> int:
    """openat2(2) of an existing file: a new close-on-exec descriptor.

    EAGAIN (a rename somewhere in the system raced with a `..`) is retried, a bounded number of times.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    for _attempt in range(32):
        fd: int = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(dir_fd),
            ctypes.c_char_p(path),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0 or ctypes.get_errno() != 11:
            break
    return _check(fd, path)


def fallocate(fd: int, offset: int, length: int) -> None:
    """fallocate(2) with FALLOC_FL_KEEP_SIZE: blocks for these bytes, the file's size as it was."""
    _check(
        _libc.fallocate(
            ctypes.c_int(fd),
            ctypes.c_int(_FALLOC_FL_KEEP_SIZE),
            ctypes.c_int64(offset),
            ctypes.c_int64(length),
        )
    )


def open_tree(dir_fd: int, path: bytes, flags: int) -> int:
    """open_tree(2), Linux 5.2: with OPEN_TREE_CLONE a detached copy of the mount at `path`."""
    result = _libc.syscall(
        ctypes.c_long(_SYS_OPEN_TREE), ctypes.c_int(dir_fd), ctypes.c_char_p(path), ctypes.c_uint(flags)
    )
    return _check(int(result), path)


def mount_setattr(fd: int, flags: int, attr_set: int, attr_clr: int, userns_fd: int = 0) -> None:
    """mount_setattr(2), Linux 5.12, on the mount `fd` itself (with AT_EMPTY_PATH in `flags`)."""
    attributes = (ctypes.c_uint64 * 4)(attr_set, attr_clr, 0, userns_fd)
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(fd),
        ctypes.c_char_p(b""),
        ctypes.c_uint(flags),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    _check(int(result))


def sync_file_range(fd: int, offset: int, length: int) -> None:
    """sync_file_range(2) with SYNC_FILE_RANGE_WRITE: have these pages written, and do not wait."""
    _check(
        _libc.sync_file_range(
            ctypes.c_int(fd),
            ctypes.c_int64(offset),
            ctypes.c_int64(length),
            ctypes.c_uint(_SYNC_FILE_RANGE_WRITE),
        )
    )


def syncfs(fd: int) -> None:
    """syncfs(2): all that was written to the file system of `fd` is on the disk (and EIO if it could not be)."""
    _check(_libc.syncfs(ctypes.c_int(fd)))


def setns(fd: int, kind: int) -> None:
    """setns(2): enter the namespace `fd`, of type `kind` (CLONE_NEWNS…)."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)))


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(ctypes.c_int(flags)))


def mount(source: str, target: str, fstype: str | None, flags: int, data: str | None) -> None:
    """mount(2)."""
    _check(
        _libc.mount(
            ctypes.c_char_p(os.fsencode(source)),
            ctypes.c_char_p(os.fsencode(target)),
            ctypes.c_char_p(os.fsencode(fstype) if fstype else None),
            ctypes.c_ulong(flags),
            ctypes.c_char_p(os.fsencode(data) if data else None),
        ),
        target,
    )


def getdents64(fd: int, size: int = 4096) -> bytes:
    """getdents64(2): raw `struct linux_dirent64` records, empty at the end of the directory."""
    buffer = ctypes.create_string_buffer(size)
    got = _check(int(_libc.getdents64(ctypes.c_int(fd), buffer, ctypes.c_size_t(size))))
    return buffer.raw[:got]
