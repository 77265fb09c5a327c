"""System calls of namespaces that Python 3.11 lacks, under the kernel's names. OSError on failure."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

from barque.shim.kernel import MS_BIND, MS_REC, MS_SLAVE, mount, set_death_signal, set_name, unshare

__all__ = [
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWUSER",
    "MS_BIND",
    "MS_REC",
    "MS_SLAVE",
    "loopback_up",
    "mount",
    "namespace_owner",
    "set_death_signal",
    "set_dumpable",
    "set_name",
    "setns",
    "unshare",
]

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
_PR_SET_DUMPABLE = 4
_NS_GET_OWNER_UID = 0xB704
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *([ctypes.c_ulong] * 4)]


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def setns(fd: int, kind: int) -> None:
    """setns(2): go into the namespace `fd`. A user namespace only with a single thread."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)))


def set_dumpable() -> None:
    """prctl(PR_SET_DUMPABLE): a change of credentials gave /proc/PID to root outside; give it back to the user.

    newuidmap(1), pasta and the keeper look there.
    """
    _check(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0))


def namespace_owner(fd: int) -> int:
    """ioctl_ns(2), NS_GET_OWNER_UID: who made the user namespace `fd`."""
    answer = bytearray(4)
    fcntl.ioctl(fd, _NS_GET_OWNER_UID, answer)
    return int(struct.unpack("I", answer)[0])


def loopback_up() -> None:
    """netdevice(7): set `lo` up in this thread's network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        request = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(channel, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(channel, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))
