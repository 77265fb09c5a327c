"""Compiled seccomp filters, kept in memory and on disk: libseccomp takes some 10 ms for Docker's profile.

A file of the cache holds the profile itself too, and counts only when that is the very profile asked for, the file
belongs to this user and nobody else may write it. The directory is the runtime's root, mode 0700.
"""

from __future__ import annotations

import os
import stat

from barque_runtime_native.jsontext import dumps
from barque_runtime_native.seccomp.filter import Filter
from barque_runtime_native.seccomp.flags import read_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.spec import Section

DIRECTORY = ".seccomp"
# counts the changes to what the compiler makes of a profile
FORMAT = 4
NOT_COMPILED = ("listenerPath", "listenerMetadata")
MAX_FILE = 4 << 20
MAX_KEPT = 64
_kept: dict[bytes, Filter] = {}


def filter_for(section: Section, root: str) -> Filter:
    """The filter of `linux.seccomp`, compiled at most once; `root` is where files may be kept."""
    compiled = {key: value for key, value in section.values.items() if key not in NOT_COMPILED}
    key = dumps(compiled, sort_keys=True)
    found = _kept.get(key)
    if found is None:
        found = _load(root, key, read_flags(section))
        if found is None:
            # Imported when a profile is new: the compiler comes with ctypes.
            from barque_runtime_native.seccomp.compiler import compile_filter

            found = compile_filter(section)
            _store(root, key, found.program)
        if len(_kept) >= MAX_KEPT:
            _kept.clear()
        _kept[key] = found
    return found


def _path(root: str, key: bytes) -> str:
    from zlib import adler32, crc32

    # A collision costs a compilation and nothing else: the key in the file decides.
    return f"{root}/{DIRECTORY}/{FORMAT}-{crc32(key):08x}{adler32(key):08x}-{os.uname().machine}"


def _load(root: str, key: bytes, flags: int) -> Filter | None:
    try:
        fd = os.open(_path(root, key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        trusted = (
            stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
        )
        data = os.read(fd, MAX_FILE) if trusted and status.st_size <= MAX_FILE else b""
    finally:
        os.close(fd)
    program = data[len(key) + 1 :]
    if not program or len(program) % 8 or not data.startswith(key + b"\n"):
        return None
    return Filter(program, flags)


def _store(root: str, key: bytes, program: bytes) -> None:
    """Best effort: a cache that cannot be written costs time only."""
    path = _path(root, key)
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, key + b"\n" + program)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        return
