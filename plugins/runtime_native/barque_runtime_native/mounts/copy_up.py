"""`tmpcopyup`: fill a new tmpfs with what the image has at its mount point."""

from __future__ import annotations

import os
import stat


def copy_tree(source: int, target: int) -> None:
    """Copy everything below directory `source` into directory `target`, by descriptors and without following links."""
    copy_attributes(os.fstat(source), target)
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _copy_directory(name, source, target)
        elif stat.S_ISREG(status.st_mode):
            _copy_file(name, source, target)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)


def copy_attributes(status: os.stat_result, target: int) -> None:
    """Owner, then mode: chown clears the set-user-id bit."""
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode))


def _copy_directory(name: str, source: int, target: int) -> None:
    os.mkdir(name, 0o700, dir_fd=target)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    inner = os.open(name, flags, dir_fd=source)
    try:
        outer = os.open(name, flags, dir_fd=target)
        try:
            copy_tree(inner, outer)
        finally:
            os.close(outer)
    finally:
        os.close(inner)


def _copy_file(name: str, source: int, target: int) -> None:
    inner = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        outer = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            while os.sendfile(outer, inner, None, 1 << 24):
                pass
            copy_attributes(os.fstat(inner), outer)
        finally:
            os.close(outer)
    finally:
        os.close(inner)
