"""Project quotas: a directory that may grow to a size (ext4, xfs; quotactl_fd(2), ioctl FS_IOC_FSSETXATTR in ioctl_xfs_fsgetxattr(2)).

A limited volume has a project id of its own on its directory; what is made in it inherits it. The kernel knows which ids are in use.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import struct

from barque.spi.errors import InvalidArgument, ResourceExhausted

__all__ = ["forget", "limit"]

_SYS_QUOTACTL_FD = 443
_PROJECT = 2
_GET, _SET, _STATE = 0x800007, 0x800008, (ord("X") << 8) + 8
_DQBLK = struct.Struct("=8QI4x")  # struct if_dqblk
_BLOCK_LIMITS = 1
_STATV = struct.Struct("=bxH252x")  # the head of struct fs_quota_statv, and room for the rest
_ENFORCED = 1 << 5
_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820
_FSXATTR = struct.Struct("=5I8x")
_INHERIT = 0x200
_IDS = range(1 << 29, 1 << 30)  # below those that the overlay driver gives out
_ATTEMPTS = 64


def limit(directory: int, size: int) -> None:
    """Let the empty directory (a descriptor) grow to `size` bytes. Errors: InvalidArgument (Docker's words), ResourceExhausted, OSError."""
    reason = _why_not(directory)
    if reason:
        raise InvalidArgument(
            "quota size requested but no quota support",
            hint=f"{reason}; xfs: mount it with -o pquota; ext4: `tune2fs -O project,quota`, then -o prjquota",
        )
    for _attempt in range(_ATTEMPTS):
        id = _IDS[secrets.randbelow(len(_IDS))]
        if _free(directory, id):
            _set_limit(directory, id, size)
            _assign(directory, id)
            return
    raise ResourceExhausted("no project id is free for a quota")


def forget(directory: int) -> None:
    """Free the id of a directory that is to be removed. Nothing happens to one without. Errors: OSError."""
    attributes = bytearray(_FSXATTR.size)
    try:
        fcntl.ioctl(directory, _GET_ATTRIBUTES, attributes)
    except OSError:
        return  # a file system without project ids
    id = _FSXATTR.unpack(attributes)[3]
    if id in _IDS:
        _set_limit(directory, id, 0)


def _why_not(directory: int) -> str:
    state = ctypes.create_string_buffer(_STATV.pack(1, 0), _STATV.size)
    try:
        _quotactl(directory, _STATE, 0, state)
    except OSError as error:
        return f"the file system has no project quotas ({error.strerror})"
    return "" if _STATV.unpack(state.raw)[1] & _ENFORCED else "project quotas are not switched on"


def _free(directory: int, id: int) -> bool:
    record = ctypes.create_string_buffer(_DQBLK.size)
    try:
        _quotactl(directory, _GET, id, record)
    except FileNotFoundError:  # xfs has no record of it yet
        return True
    return not any(_DQBLK.unpack(record.raw)[:6])


def _set_limit(directory: int, id: int, size: int) -> None:
    blocks = -(-size // 1024)
    record = _DQBLK.pack(blocks, blocks, 0, 0, 0, 0, 0, 0, _BLOCK_LIMITS)
    _quotactl(directory, _SET, id, ctypes.create_string_buffer(record, _DQBLK.size))


def _assign(directory: int, id: int) -> None:
    attributes = bytearray(_FSXATTR.size)
    fcntl.ioctl(directory, _GET_ATTRIBUTES, attributes)
    flags, extent_size, extents, _id, cow = _FSXATTR.unpack(attributes)
    fcntl.ioctl(directory, _SET_ATTRIBUTES, _FSXATTR.pack(flags | _INHERIT, extent_size, extents, id, cow))


def _quotactl(fd: int, command: int, id: int, buffer: ctypes.Array[ctypes.c_char]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_uint(fd), ctypes.c_uint(command << 8 | _PROJECT), ctypes.c_uint(id), buffer)
    if libc.syscall(ctypes.c_long(_SYS_QUOTACTL_FD), *arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
