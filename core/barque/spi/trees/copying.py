"""Single files copied with all they have: shared blocks where the file system can (reflink), holes, owner, attributes."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from barque.spi.trees import xattrs

__all__ = ["Copier", "describe"]

_FICLONE = 0x40049409
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_CLONE = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EPERM})
_NO_RANGE = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV, errno.ENOSYS})
_PIECE = 1 << 20
_MAX_RANGE = 1 << 30


class Copier:
    """Copies what is not a directory. `reflinks`: whether blocks were shared, as far as was tried; None before."""

    def __init__(self) -> None:
        self.reflinks: bool | None = None
        self._ranges = True

    def copy(self, source_fd: int, base: str, status: os.stat_result, target_fd: int) -> None:
        """Copy `base`, whose status is `status`, of the directory `source_fd` to `target_fd`, where it must not be.
        A socket is left out. Errors: OSError."""
        mode = status.st_mode
        if stat.S_ISREG(mode):
            self._file(source_fd, base, target_fd)
            return
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(base, dir_fd=source_fd), base, dir_fd=target_fd)
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            os.mknod(base, mode, status.st_rdev, dir_fd=target_fd)
        else:
            return
        os.chown(base, status.st_uid, status.st_gid, dir_fd=target_fd, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            os.chmod(base, stat.S_IMODE(mode), dir_fd=target_fd)  # just made: no link
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(base, ns=times, dir_fd=target_fd, follow_symlinks=False)

    def _file(self, source_fd: int, base: str, target_fd: int) -> None:
        source = os.open(base, _READ, dir_fd=source_fd)
        try:
            status = os.fstat(source)
            target = os.open(base, _CREATE, 0o600, dir_fd=target_fd)
            try:
                if status.st_size:
                    self._content(source, target, status)
                describe(source, target, status)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _content(self, source: int, target: int, status: os.stat_result) -> None:
        if self.reflinks is not False:
            try:
                fcntl.ioctl(target, _FICLONE, source)
                self.reflinks = True
                return
            except OSError as error:
                if error.errno not in _NO_CLONE:
                    raise
                self.reflinks = False
        if status.st_blocks * 512 >= status.st_size:
            self._range(source, target, 0, status.st_size)
        else:
            self._sparse(source, target, status.st_size)

    def _sparse(self, source: int, target: int, size: int) -> None:
        """Only what is no hole (lseek(2), SEEK_DATA)."""
        os.ftruncate(target, size)
        end = 0
        while end < size:
            try:
                start = os.lseek(source, end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                raise
            end = os.lseek(source, start, os.SEEK_HOLE)
            self._range(source, target, start, end - start)

    def _range(self, source: int, target: int, offset: int, count: int) -> None:
        while count:
            done = self._some(source, target, offset, count)
            if not done:
                return
            offset += done
            count -= done

    def _some(self, source: int, target: int, offset: int, count: int) -> int:
        """One piece, in the kernel where it can."""
        if self._ranges:
            try:
                return os.copy_file_range(source, target, min(count, _MAX_RANGE), offset, offset)
            except OSError as error:
                if error.errno not in _NO_RANGE:
                    raise
                self._ranges = False
        return os.pwrite(target, os.pread(source, min(count, _PIECE), offset), offset)


def describe(source: int, target: int, status: os.stat_result) -> None:
    """Give the file or directory `target` the owner, mode, attributes and times of `source`, whose status is `status`."""
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))  # after the owner, which clears setuid
    names = xattrs.listed(source)
    if names:
        xattrs.set_all(target, b"", xattrs.read(source, names))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
