"""What every process does on its way into a container, after the clone and before execve.

Nothing here imports a module, looks up a user or loads a library: after the container's root is entered the files
behind such a lookup would be the container's.
"""

from __future__ import annotations

import errno
import os
from fcntl import F_DUPFD_CLOEXEC, fcntl

from barque.spi.errors import FailedPrecondition, Internal, InvalidArgument
from barque_runtime_native.kernel import syscalls
from barque_runtime_native.kernel.kernel_files import PROC_SUPER_MAGIC
from barque_runtime_native.process.process import Process
from barque_runtime_native.process.program import find_program, home_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.channel import ChildEnd
    from barque_runtime_native.seccomp.filter import Filter

FIRST_FREE = 3
LAST = 2**32 - 1


class Own:
    """What the runtime's own process has: read in the parent, used in the child. Sets are bit masks."""

    __slots__ = ("bounding", "permitted", "procfs", "signals")

    def __init__(self) -> None:
        self.procfs = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if syscalls.fstatfs_type(self.procfs) != PROC_SUPER_MAGIC:
                raise FailedPrecondition("/proc is not a procfs", hint="mount proc on /proc")
            status = self._read_status()
            self.permitted = field(status, "\nCapPrm:")
            self.bounding = field(status, "\nCapBnd:")
            # ignored and caught: what a program must not inherit
            self.signals = field(status, "\nSigIgn:") | field(status, "\nSigCgt:")
        except BaseException:
            self.close()
            raise

    def _read_status(self) -> str:
        fd = os.open("self/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.procfs)
        try:
            return os.read(fd, 16384).decode("ascii", "replace")
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close /proc."""
        os.close(self.procfs)


def field(status: str, name: str) -> int:
    """A hexadecimal field of /proc/self/status."""
    start = status.index(name) + len(name)
    return int(status[start : status.index("\n", start)], 16)


def reset_signals(signals: int) -> None:
    """Default dispositions for the set `signals`, then nothing blocked."""
    for number in range(1, 65):
        if signals >> (number - 1) & 1 and number not in (9, 19):
            syscalls.rt_sigaction_default(number)
    syscalls.rt_sigprocmask(0)


def place_stdio(fds: tuple[int, int, int]) -> None:
    """Make `fds` 0, 1 and 2, in whatever order they are now."""
    if fds == (0, 1, 2):
        for number in fds:
            os.set_inheritable(number, True)
        return
    copies = [fcntl(fd, F_DUPFD_CLOEXEC, 10) for fd in fds]
    for number, copy in enumerate(copies):
        os.dup2(copy, number)
        os.close(copy)


def close_all_but(keep: set[int], preserved: int) -> None:
    """Close everything else: a descriptor of the host's would be a way out (CVE-2024-21626).

    0 to 2 and the `preserved` ones after them are the program's.
    """
    first = FIRST_FREE + preserved
    for number in range(FIRST_FREE, first):
        os.set_inheritable(number, True)
    for fd in sorted(keep):
        if fd >= first:
            if fd > first:
                syscalls.close_range(first, fd - 1)
            first = fd + 1
    syscalls.close_range(first, LAST)


class Finish:
    """The last steps, in the container: limits, identity, working directory, confinement, program."""

    def __init__(
        self, process: Process, filter_: Filter | None, channel: ChildEnd, *, bounding: int, permitted: int
    ) -> None:
        """`bounding` and `permitted`: the sets of capabilities this process has."""
        self.process = process
        self.filter = filter_
        self.channel = channel
        self.sealed = False
        self.bounding = bounding
        self.permitted = permitted
        self.program = ""
        self.environment: dict[str, str] = {}

    def environment_of(self) -> dict[str, str]:
        """The program's environment; HOME comes from the container's passwd when it is not given."""
        environment = self.process.environment()
        if not environment.get("HOME"):
            environment["HOME"] = home_of(self.process.uid)
        return environment

    def confine(self) -> None:
        """Become the container's user; CAP_SYS_ADMIN stays until `seal`."""
        process = self.process
        self.environment = self.environment_of()
        os.umask(process.umask)
        process.set_scheduling()
        if process.no_new_privileges:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        denied = self._enter_directory()
        process.become(self.bounding, self.permitted)
        # setresuid made the process dumpable again if /proc/sys/fs/suid_dumpable says so
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        if denied:
            self._enter_directory(last=True)

    def seal(self) -> None:
        """Leave nothing but the container's capabilities.

        Without no_new_privs the filter is loaded first, which needs CAP_SYS_ADMIN; with it, right before execve, unless
        somebody listens: the runtime hands over the listener now.
        """
        if not self.process.no_new_privileges or (self.filter and self.filter.notifies):
            self._load_filter()
        self.process.drop_admin()

    def _enter_directory(self, last: bool = False) -> bool:
        """chdir, and proof that the directory is inside. True when only the user itself may be allowed to."""
        cwd = self.process.cwd
        try:
            os.chdir(cwd)
            inside = syscalls.getcwd().startswith("/")
        except OSError as error:
            if error.errno == errno.EACCES and not last:
                return True
            raise InvalidArgument(
                f"process.cwd: cannot enter {cwd!r}: {(error.strerror or '').lower()}"
            ) from error
        if not inside:
            raise InvalidArgument(f"process.cwd: {cwd!r} is outside of the container's root")
        return False

    def _load_filter(self) -> None:
        if not self.filter or self.sealed:
            return
        if self.filter.notifies:
            # the kernel takes the lowest free number
            free = os.dup(self.channel.fd)
            os.close(free)
            self.channel.announce_listener(free)
        try:
            syscalls.seccomp_set_mode_filter(self.filter.code, self.filter.flags)
        except OSError as error:
            raise Internal(f"linux.seccomp: the kernel refused the filter: {error.strerror}") from error
        self.sealed = True
        if self.filter.notifies:
            self.channel.wait()

    def find(self) -> None:
        """Look the program up, as its user. Errors: as `find_program`."""
        self.program = find_program(self.process.args[0], self.environment.get("PATH", ""))

    def execute(self) -> None:
        """Become the program. Returns only by raising."""
        self._load_filter()
        os.execve(self.program, self.process.args, self.environment)
