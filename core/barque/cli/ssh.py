"""A daemon on another machine by ssh(1): `barque system dial-stdio` there, or docker's, carries one connection."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import Any

from barque.cli.errors import DaemonUnavailable
from barque.cli.host import Address

__all__ = ["dial_ssh"]

_CONNECT_SECONDS = 30
_END_SECONDS = 2
_TOLD = 2000
# Interrupts are for the program at the other end (or for nobody), not for the connection to it.
_DEAF = ("/bin/sh", "-c", "trap '' INT QUIT; exec \"$@\"", "sh")


def dial_ssh(address: Address) -> socket.socket:
    """A socket to the other machine's daemon. ssh asks for what it needs (a passphrase, a new host's key) on the terminal.

    Raises DaemonUnavailable when there is no ssh here; what goes wrong later is raised by the socket."""
    ours, theirs = socket.socketpair()
    notes = os.memfd_create("ssh-stderr", os.MFD_CLOEXEC)
    try:
        process = subprocess.Popen(
            [*_DEAF, *_command(address)], stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=notes
        )
    except OSError as error:
        os.close(notes)
        ours.close()
        raise DaemonUnavailable(f"cannot run ssh: {error.strerror}") from error
    finally:
        theirs.close()
    return _Piped(ours, process, notes, address)


def _command(address: Address) -> list[str]:
    command = ["ssh", "-o", f"ConnectTimeout={_CONNECT_SECONDS}", "-T"]
    command += ["-l", address.user] if address.user else []
    command += ["-p", str(address.port)] if address.port else []
    return [*command, "--", address.host, _remote(address.path)]


def _remote(path: str) -> str:
    """What the other machine's login shell, whichever it is, runs."""
    host = f" --host {_quoted(f'unix://{path}')}" if path else ""
    script = (
        f"if command -v barque >/dev/null 2>&1; then exec barque{host} system dial-stdio; "
        f"else exec docker{host} system dial-stdio; fi"
    )
    return f"sh -c {_quoted(script)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


class _Piped(socket.socket):
    """The connection through the ssh process, which ends with it."""

    def __init__(
        self, sock: socket.socket, process: subprocess.Popen[bytes], notes: int, address: Address
    ) -> None:
        super().__init__(fileno=sock.detach())
        self._process = process
        self._notes = notes
        self._url = address.url

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """As a socket does. Raises OSError with what ssh said when it ended with a failure."""
        try:
            piece = super().recv(size, flags)
        except ConnectionResetError:  # what we sent was not read
            piece = b""
        if piece:
            return piece
        self._check()
        return b""

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """As a socket does. Raises OSError with what ssh said when it ended before it took all."""
        try:
            super().sendall(data, flags)
        except (BrokenPipeError, ConnectionResetError):
            self._check()
            raise

    def _check(self) -> None:
        if status := self._ended():
            raise OSError(
                f"ssh to {self._url} ended with status {status}, is barque (or docker) installed there?{self._told()}"
            )

    def _ended(self) -> int:
        """The exit status; 0 while it still runs: then the daemon closed its side only."""
        try:
            return self._process.wait(1)
        except subprocess.TimeoutExpired:
            return 0

    def _told(self) -> str:
        size = os.fstat(self._notes).st_size
        text = os.pread(self._notes, _TOLD, max(0, size - _TOLD)).decode("utf-8", "replace").strip()
        return f"\n{text}" if text else ""

    def close(self) -> None:
        """Close the connection and end ssh. Idempotent."""
        super().close()
        if self._notes < 0:
            return
        os.close(self._notes)
        self._notes = -1
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
