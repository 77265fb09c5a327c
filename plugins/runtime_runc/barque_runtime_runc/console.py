"""Receiving the pty of a container from the runtime (`--console-socket`, runc's docs/terminals.md)."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import stat
import struct
import termios
from contextlib import suppress
from types import TracebackType

from barque.spi.errors import Internal

__all__ = ["ConsoleSocket"]

_NAME = "console.sock"
_SECONDS = 5.0
_PTMX = os.makedev(5, 2)
_TIOCGPTN = 0x80045430


class ConsoleSocket:
    """A listening unix socket in `directory`, for one runtime to send one pty master to.

    It is named through `/proc/<pid>/fd/N/`, because sun_path ends after 107 bytes and directories do not.
    """

    def __init__(self, directory: str) -> None:
        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.path = f"/proc/{os.getpid()}/fd/{self._directory}/{_NAME}"
        try:
            self._unlink()
            self._socket.bind(self.path)
            self._socket.listen(1)
            self._socket.settimeout(_SECONDS)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> ConsoleSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unlink()
        self._close()

    def receive(self) -> int:
        """The pty master, checked to be one; the caller owns it. The runtime has ended: what it sent waits in the socket."""
        try:
            peer, _ = self._socket.accept()
        except TimeoutError:
            raise Internal("the runtime sent no console") from None
        with peer:
            peer.settimeout(_SECONDS)
            if _peer_uid(peer) != os.geteuid():
                raise Internal("the console was sent by a foreign user")
            return _checked(_receive_descriptors(peer))

    def _unlink(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(_NAME, dir_fd=self._directory)

    def _close(self) -> None:
        self._socket.close()
        os.close(self._directory)


def _peer_uid(peer: socket.socket) -> int:
    uid: int = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    return uid


def _receive_descriptors(peer: socket.socket) -> list[int]:
    """All descriptors of the first message (at most four have room)."""
    found = array.array("i")
    room = socket.CMSG_SPACE(4 * found.itemsize)
    _, ancillary, _, _ = peer.recvmsg(4096, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return list(found)


def _checked(descriptors: list[int]) -> int:
    """The one descriptor, when it is a pty master."""
    if len(descriptors) == 1 and _is_pty_master(descriptors[0]):
        return descriptors[0]
    for fd in descriptors:
        os.close(fd)
    raise Internal("the runtime sent something that is not a pty master as console")


def _is_pty_master(fd: int) -> bool:
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _PTMX:
        return False
    try:
        fcntl.ioctl(fd, _TIOCGPTN, bytearray(4))
        termios.tcgetattr(fd)
    except (OSError, termios.error):
        return False
    return True
