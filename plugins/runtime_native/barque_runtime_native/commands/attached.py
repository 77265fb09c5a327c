"""Staying with a container process until it ends: signals, terminal, exit status."""

from __future__ import annotations

import os
import select
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from fcntl import ioctl
from struct import pack

from barque.spi.errors import InvalidArgument
from barque_runtime_native.kernel import syscalls

SIGCHLD, SIGKILL, SIGSTOP, SIGWINCH = 17, 9, 19, 28
# Signals that say something about this process itself, not about the container.
KEPT = frozenset((SIGKILL, SIGSTOP, SIGCHLD, 11, 7, 8, 4, 5, 6, 13, 23))
SOCK_CLOEXEC = 0o2000000
TIOCGWINSZ, TIOCSWINSZ = 0x5413, 0x5414
PR_SET_CHILD_SUBREAPER = 36
CHUNK = 65536


class Attached:
    """Made before the container is: from then on signals wait to be forwarded."""

    def __init__(self, *, subreaper: bool = True) -> None:
        """`subreaper`: orphans of the container's processes become children of this process, which reaps them."""
        if subreaper:
            syscalls.prctl(PR_SET_CHILD_SUBREAPER, 1)
        mask = sum(1 << (number - 1) for number in range(1, 32) if number not in KEPT or number == SIGCHLD)
        self.signals = syscalls.signalfd4(mask)
        syscalls.rt_sigprocmask(mask)
        self.settings: object = None

    def wait(self, pid: int, console: int | None) -> int:
        """Relay until process `pid` has ended; its exit status as a shell tells it."""
        poll = select.poll()
        poll.register(self.signals, select.POLLIN)
        if console is not None:
            self._enter_raw(console)
            poll.register(console, select.POLLIN)
            poll.register(0, select.POLLIN)
        try:
            while True:
                for fd, _ in poll.poll():
                    if fd == self.signals:
                        status = self._signals(pid, console)
                        if status is not None:
                            drain(console)
                            return status
                    elif console is not None and not relay(fd, console):
                        poll.unregister(fd)
        finally:
            self._leave_raw()

    def _signals(self, pid: int, console: int | None) -> int | None:
        while True:
            try:
                record = os.read(self.signals, 128)
            except BlockingIOError:
                return None
            number = int.from_bytes(record[:4], "little")
            if number == SIGCHLD:
                status = reap(pid)
                if status is not None:
                    return status
            elif number == SIGWINCH and console is not None:
                resize(console)
            else:
                os.kill(pid, number)

    def _enter_raw(self, console: int) -> None:
        if not os.isatty(0):
            return
        import termios
        import tty

        resize(console)
        self.settings = termios.tcgetattr(0)
        tty.setraw(0)

    def _leave_raw(self) -> None:
        if self.settings is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self.settings)  # type: ignore[arg-type]


def reap(pid: int) -> int | None:
    """Reap whoever ended; the exit status when `pid` was among them."""
    found = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if ended == 0:
            return found
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code


def relay(fd: int, console: int) -> bool:
    """Copy what is there from standard input to the terminal or back; False at the end."""
    source, target = (0, console) if fd == 0 else (console, 1)
    try:
        data = os.read(source, CHUNK)
    except OSError:  # EIO: nobody has the terminal open any more
        return False
    while data:
        data = data[os.write(target, data) :]
        if not data:
            return True
    return False


def drain(console: int | None) -> None:
    """Copy the last output."""
    if console is not None:
        os.set_blocking(console, False)
        while relay(console, console):
            continue


def resize(console: int) -> None:
    """Give the container's terminal the size of ours."""
    ioctl(console, TIOCSWINSZ, ioctl(0, TIOCGWINSZ, bytes(8)))


def send_console(path: str, console: int) -> None:
    """Pass the terminal's master side to whoever listens on `path`, and close it here."""
    send_descriptor(path, console, b"/dev/ptmx")


def send_pidfd(path: str, pid: int) -> None:
    """Pass a pidfd of the process `pid`, a child of this process, to whoever listens on `path`."""
    send_descriptor(path, os.pidfd_open(pid), b"pidfd")


def send_descriptor(path: str, fd: int, name: bytes) -> None:
    """Pass `fd` with its name over a Unix socket, and close it here. Errors: InvalidArgument when nobody listens."""
    line = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        line.connect(path)
        line.sendmsg([name], [(SOL_SOCKET, SCM_RIGHTS, pack("=i", fd))])
    except OSError as error:
        raise InvalidArgument(f"dial unix {path}: connect: {(error.strerror or '').lower()}") from error
    finally:
        line.close()
        os.close(fd)


def write_pid_file(path: str, pid: int) -> None:
    """Write the pid, visible only when complete."""
    directory, name = os.path.split(os.path.abspath(path))
    temporary = f"{directory}/.{name}.{os.getpid()}"
    fd = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, str(pid).encode())
    finally:
        os.close(fd)
    os.rename(temporary, path)
