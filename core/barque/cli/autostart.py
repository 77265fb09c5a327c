"""Starting the daemon when nothing listens at the default socket."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time

from barque.cli.errors import DaemonUnavailable
from barque.cli.host import Address, dial

__all__ = ["start_daemon"]

_PATIENCE = 30.0  # a rootless daemon makes its namespaces and waits for its uplink first


def start_daemon(address: Address, profile: str) -> socket.socket:
    """Start `barqued` detached and return a connection to it.

    Two command lines at once start one daemon: they queue on a lock beside the socket, and the second finds it
    listening. The daemon's stderr goes to `barqued.log` there. Raises DaemonUnavailable after 30 s, or at once
    when the daemon ends before it listens, with the last lines it wrote.
    """
    run_dir = os.path.dirname(address.path)
    try:
        os.makedirs(run_dir, mode=0o700, exist_ok=True)
        with (
            _File(os.path.join(run_dir, "start.lock")) as lock,
            _File(os.path.join(run_dir, "barqued.log")) as log,
        ):
            fcntl.flock(lock.fd, fcntl.LOCK_EX)
            log.mark()
            sock = _try(address)
            return sock if sock is not None else _wait(address, _spawn(run_dir, address, profile, log), log)
    except OSError as error:
        raise DaemonUnavailable(
            f"cannot start the Barque daemon: {error.strerror}: {error.filename or run_dir}",
            hint="start `barqued` yourself, or name a running daemon by --host",
        ) from error


class _File:
    """A file beside the socket, ours alone; never one that a link leads to."""

    def __init__(self, path: str) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self.fd = os.open(path, flags, 0o600)
        self._start = 0

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self.fd)

    def mark(self) -> None:
        """Everything written so far is of no interest to `tail`."""
        self._start = os.fstat(self.fd).st_size

    def tail(self) -> str:
        """The last lines that this daemon wrote, for a message."""
        size = os.fstat(self.fd).st_size
        written = os.pread(self.fd, 2000, max(self._start, size - 2000))
        lines = written.decode("utf-8", "replace").strip().splitlines()[-5:]
        return ":\n  " + "\n  ".join(lines) if lines else ""


def _try(address: Address) -> socket.socket | None:
    try:
        return dial(address)
    except DaemonUnavailable as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            return None
        raise


def _spawn(run_dir: str, address: Address, profile: str, log: _File) -> subprocess.Popen[bytes]:
    command = [_program(), "--run-dir", run_dir, "--host", address.url]
    if profile:
        is_file = "/" in profile or profile.endswith(".toml")  # the daemon's working directory is another
        command += ["--profile", os.path.abspath(profile) if is_file else profile]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log.fd,
        stderr=log.fd,
        cwd="/",
        start_new_session=True,
    )


def _program() -> str:
    """The `barqued` installed beside this interpreter or this script, or else the one in PATH."""
    for directory in (os.path.dirname(sys.executable), os.path.dirname(os.path.realpath(sys.argv[0]))):
        candidate = os.path.join(directory, "barqued")
        if os.access(candidate, os.X_OK):
            return candidate
    found = shutil.which("barqued")
    if found is None:
        raise DaemonUnavailable(
            "the Barque daemon does not run, and its program `barqued` is not installed beside this one",
            hint="pip install barque",
        )
    return found


def _wait(address: Address, daemon: subprocess.Popen[bytes], log: _File) -> socket.socket:
    deadline = time.monotonic() + _PATIENCE
    pause = 0.01
    while time.monotonic() < deadline:
        if (sock := _try(address)) is not None:
            # It outlives us: not ours to wait for, and no ResourceWarning about that.
            daemon.returncode = 0
            return sock
        if daemon.poll() is not None:
            raise DaemonUnavailable(
                f"the Barque daemon ended with status {daemon.returncode} before it was ready{log.tail()}",
                hint=f"its whole output is in {log.path}",
            )
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    daemon.returncode = 0
    raise DaemonUnavailable(
        f"the Barque daemon does not answer at {address.url} {_PATIENCE:.0f} seconds after its start{log.tail()}",
        hint=f"its output is in {log.path}",
    )
