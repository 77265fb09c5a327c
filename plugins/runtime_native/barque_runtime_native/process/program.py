"""Finding and executing the program, inside the container and as its user."""

from __future__ import annotations

import errno
import os
import stat

from barque_runtime_native.failures import program_error

MAX_PASSWD = 1 << 20


def find_program(name: str, search: str) -> str:
    """The path to execute: `name` itself when it has a slash, else the first match in `search` ($PATH).

    Errors: NotFound (127) and PermissionDenied (126), as Docker words them. Empty and relative entries of the path
    are skipped: they would mean the working directory, which the image's author may not own.
    """
    if "/" in name:
        number = why_not_executable(name)
        if number:
            detail = f"stat {name}: no such file or directory" if number == errno.ENOENT else ""
            raise program_error(name, number, detail)
        return name
    denied = 0
    for directory in search.split(":"):
        if not directory.startswith("/"):
            continue
        path = f"{directory.rstrip('/')}/{name}"
        number = why_not_executable(path)
        if not number:
            return path
        if number == errno.EACCES:
            denied = number
    if denied:
        raise program_error(name, denied)
    raise program_error(name, errno.ENOENT, "executable file not found in $PATH")


def why_not_executable(path: str) -> int:
    """0, or the errno that execve(2) would fail with."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.errno or errno.ENOENT
    if stat.S_ISDIR(mode):
        return errno.EISDIR
    if not stat.S_ISREG(mode) or not os.access(path, os.X_OK, effective_ids=True):
        return errno.EACCES
    return 0


def home_of(uid: int) -> str:
    """The home directory the container's /etc/passwd names for `uid`; `/` when it names none.

    Read with plain reads and no library: the file is the image's, so it must be a regular file and at most 1 MiB.
    """
    try:
        fd = os.open("/etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return "/"
    try:
        data = os.read(fd, MAX_PASSWD) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)
    for line in data.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == str(uid).encode() and fields[5].startswith(b"/"):
            return os.fsdecode(fields[5])
    return "/"
