"""Mounting what a volume's options name, as mount(8) would (mount(2)), and finding what is mounted."""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from barque.spi.errors import FailedPrecondition, Unavailable
from barque.spi.trees import syscalls
from barque_volume_local.options import LocalOptions

__all__ = ["detach", "mount", "mounted_below"]

_MS_BIND, _MS_REC, _MS_REMOUNT = 0x1000, 0x4000, 0x20
_MNT_DETACH, _UMOUNT_NOFOLLOW = 0x2, 0x8
_SET = {
    "ro": 0x1, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8, "sync": 0x10, "remount": _MS_REMOUNT, "mand": 0x40,
    "dirsync": 0x80, "noatime": 0x400, "nodiratime": 0x800, "bind": _MS_BIND, "rbind": _MS_BIND | _MS_REC,
    "relatime": 1 << 21, "strictatime": 1 << 24,
}  # fmt: skip
_CLEAR = {
    "rw": 0x1, "suid": 0x2, "dev": 0x4, "exec": 0x8, "async": 0x10, "nomand": 0x40, "atime": 0x400,
    "diratime": 0x800, "norelatime": 1 << 21, "nostrictatime": 1 << 24, "defaults": 0,
}  # fmt: skip
_PROPAGATION = {
    "unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20,
}  # fmt: skip
_SECRET = re.compile(r"(?<=password=)[^,]*")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_OPEN = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)


def mount(options: LocalOptions, path: str) -> None:
    """Mount what `options` name on the directory `path`. Errors: FailedPrecondition, Unavailable; a password is in neither."""
    device, words = _resolved(options)
    flags, propagation, data = _flags(words)
    try:
        with _place(path) as place:
            first = flags & (_MS_BIND | _MS_REC) if flags & _MS_BIND else flags
            syscalls.mount(device, place, options.kind, first, data)
        _finish(path, flags, propagation)
    except OSError as error:
        told = f"mount {device}:{path}, flags: {flags:#x}"
        told += f", data: {_SECRET.sub('********', data)}" if data else ""
        raise FailedPrecondition(
            f"error while mounting volume '{path}': failed to mount local volume: {told}: "
            f"{(error.strerror or '').lower()}"
        ) from None


def _finish(path: str, flags: int, propagation: list[int]) -> None:
    """What a bind mount takes in further calls on the new mount."""
    try:
        if flags & _MS_BIND and flags & ~(_MS_BIND | _MS_REC):
            with _place(path) as place:
                syscalls.mount("none", place, None, flags & ~_MS_REC | _MS_REMOUNT, None)
        for kind in propagation:
            with _place(path) as place:
                syscalls.mount("none", place, None, kind, None)
    except OSError:
        detach(path)
        raise


@contextmanager
def _place(path: str) -> Iterator[str]:
    """The directory by descriptor: a link that took its place is not followed."""
    fd = os.open(path, _OPEN)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _flags(words: str) -> tuple[int, list[int], str]:
    """The words of `o` as flags of mount(2), propagation changes, and the file system's own data."""
    flags, propagation, data = 0, [], []
    for word in filter(None, words.split(",")):
        bare = word.removeprefix("r")
        if word in _SET:
            flags |= _SET[word]
        elif word in _CLEAR:
            flags &= ~_CLEAR[word]
        elif word in _PROPAGATION:
            propagation.append(_PROPAGATION[word])
        elif bare in _PROPAGATION:
            propagation.append(_PROPAGATION[bare] | _MS_REC)
        else:
            data.append(word)
    return flags, propagation, ",".join(data)


def _resolved(options: LocalOptions) -> tuple[str, str]:
    """Device and words with the names of servers replaced by addresses: the kernel's nfs and cifs look up none."""
    if options.kind not in ("nfs", "nfs4", "cifs"):
        return options.device, options.words
    words = options.words.split(",")
    for index, word in enumerate(words):
        if word.startswith("addr="):
            words[index] = f"addr={_address(word.removeprefix('addr='))}"
            return options.device, ",".join(words)
    host = urlsplit(options.device).hostname if options.kind == "cifs" else None
    device = options.device.replace(host, _address(host), 1) if host else options.device
    return device, options.words


def _address(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise Unavailable(
            f"error resolving passed in network volume address: lookup {host}: {error}",
            hint="see that the server's name can be resolved on this host",
        ) from None


def mounted_below(path: str) -> list[str]:
    """Mount points on `path` and below it, in the order in which they were mounted (proc(5), mountinfo)."""
    with open("/proc/self/mountinfo", "rb") as file:
        points = [os.fsdecode(_unescaped(line.split(b" ", 5)[4])) for line in file]
    return [point for point in points if point == path or point.startswith(f"{path}/")]


def _unescaped(name: bytes) -> bytes:
    if b"\\" not in name:
        return name
    return _ESCAPED.sub(lambda m: chr(int(m[1], 8)), name.decode("latin-1")).encode("latin-1")


def detach(path: str) -> bool:
    """Unmount the topmost mount on `path`; False when nothing is mounted there. What is in use stays for its users only."""
    for flags in (_UMOUNT_NOFOLLOW, _UMOUNT_NOFOLLOW | _MNT_DETACH):
        if not _libc.umount2(ctypes.c_char_p(os.fsencode(path)), ctypes.c_int(flags)):
            return True
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOENT):
            return False
        if number != errno.EBUSY:
            break
    raise Unavailable(f"cannot unmount {path}: {os.strerror(number)}")
