"""Project quotas: directories that together may grow to a size (ext4, xfs; quotactl(2), ioctl FS_IOC_FSSETXATTR in xfs(5)).

A limited snapshot has a project id of its own on its upper and work directory; what is made in them inherits it. The kernel knows which
ids are in use, so nothing is kept here. overlayfs writes without CAP_SYS_RESOURCE, else root would be free of limits.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import struct
from collections.abc import Iterable

from barque.spi.errors import FailedPrecondition, InvalidArgument, ResourceExhausted

__all__ = ["MIN_SIZE", "ProjectQuota"]

MIN_SIZE = 256 << 10
"""overlayfs's own directories need some of it."""

_SYS_QUOTACTL_FD = 443
_PROJECT = 2
_Q_GETQUOTA, _Q_SETQUOTA, _Q_XGETQSTATV = 0x800007, 0x800008, (ord("X") << 8) + 8
_ENFORCED = 1 << 5  # FS_QUOTA_PDQ_ENFD
_DQBLK = struct.Struct("=8QI4x")  # struct if_dqblk
_BLOCK_LIMITS = 1  # QIF_BLIMITS
_KIBIBYTE = 1024
_STATE = struct.Struct(
    "=bxH252x"
)  # the head of struct fs_quota_statv, and more room than all of it (160 bytes)
_STATE_VERSION = 1
_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820
_FSXATTR = struct.Struct("=5I8x")
_INHERIT = 0x200  # FS_XFLAG_PROJINHERIT
_FIRST_ID, _LAST_ID = 1 << 30, (1 << 31) - 1
_ATTEMPTS = 64


class ProjectQuota:
    """The project quotas of the file system that holds the directory `root`."""

    def __init__(self, root: str) -> None:
        self._root = root

    def why_not(self) -> str:
        """Why directories cannot be limited there; empty when they can."""
        state = ctypes.create_string_buffer(_STATE.pack(_STATE_VERSION, 0), _STATE.size)
        try:
            self._quotactl(_Q_XGETQSTATV, 0, state)
        except OSError as error:
            return f"no project quotas ({error.strerror})"
        _version, flags = _STATE.unpack(state.raw)
        return "" if flags & _ENFORCED else "project quotas are not switched on"

    def new_id(self, size: int) -> int:
        """An id that nothing has, limited to `size` bytes. Errors: InvalidArgument, FailedPrecondition, OSError."""
        if size < MIN_SIZE:
            raise InvalidArgument(f"size {size}: the root of a container needs {MIN_SIZE} bytes at least")
        reason = self.why_not()
        if reason:
            raise FailedPrecondition(
                "--storage-opt is supported only for overlay over ext4 or xfs with project quotas: "
                f"the file system of {self._root} has {reason}",
                hint="xfs: mount it with -o pquota; ext4: `tune2fs -O project,quota` while it is not mounted, then mount it with -o prjquota",
            )
        for _attempt in range(_ATTEMPTS):
            id = _FIRST_ID + secrets.randbelow(_LAST_ID - _FIRST_ID + 1)
            if self._free(id):
                self._limit(id, size)
                return id
        raise ResourceExhausted("no project id is free for a quota")

    def assign(self, id: int, directories: Iterable[str]) -> None:
        """Give empty directories, and what will be in them, to project `id`. Errors: OSError."""
        for path in directories:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                attributes = bytearray(_FSXATTR.size)
                fcntl.ioctl(fd, _GET_ATTRIBUTES, attributes)
                flags, extent_size, extents, _id, cow = _FSXATTR.unpack(attributes)
                wanted = _FSXATTR.pack(flags | _INHERIT, extent_size, extents, id, cow)
                fcntl.ioctl(fd, _SET_ATTRIBUTES, wanted)
            finally:
                os.close(fd)

    def forget(self, id: int) -> None:
        """Free the id; what still has it is no longer limited. Idempotent. Errors: OSError."""
        if _FIRST_ID <= id <= _LAST_ID:
            self._limit(id, 0)

    def _free(self, id: int) -> bool:
        record = ctypes.create_string_buffer(_DQBLK.size)
        try:
            self._quotactl(_Q_GETQUOTA, id, record)
        except FileNotFoundError:  # xfs has no record of it yet
            return True
        hard, soft, space, inode_hard, inode_soft, inodes, *_ = _DQBLK.unpack(record.raw)
        return not any((hard, soft, space, inode_hard, inode_soft, inodes))

    def _limit(self, id: int, size: int) -> None:
        blocks = -(-size // _KIBIBYTE)
        record = _DQBLK.pack(blocks, blocks, 0, 0, 0, 0, 0, 0, _BLOCK_LIMITS)
        self._quotactl(_Q_SETQUOTA, id, ctypes.create_string_buffer(record, _DQBLK.size))

    def _quotactl(self, command: int, id: int, buffer: ctypes.Array[ctypes.c_char]) -> None:
        """quotactl_fd(2), Linux 5.14."""
        libc = ctypes.CDLL(None, use_errno=True)
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            result = libc.syscall(
                ctypes.c_long(_SYS_QUOTACTL_FD),
                ctypes.c_uint(fd),
                ctypes.c_uint(command << 8 | _PROJECT),
                ctypes.c_uint(id),
                buffer,
            )
        finally:
            os.close(fd)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), self._root)
